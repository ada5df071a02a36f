"""Damages exported LiteRT files and runs them as `quantnas upscale` does.

As for ONNX files, the forked process of a case stands for the one that a file without a valid digest is tried in. Where
it crashes, the file is opened once more as a user would.
"""

from pathlib import Path
from random import Random
from typing import Any, Callable, Dict

import fuzzing
import numpy as np
from broken_bytes import mutated
from fuzz_onnx import ODD

from quantnas_sr.deploy.exported_network import ExportedNetwork
from quantnas_sr.deploy.opening import open_session
from quantnas_sr.deploy.packages import LITERT_RUNTIMES
from quantnas_sr.deploy.runtimes import open_network
from quantnas_sr.export.litert.flat_buffer import FlatBuffer
from quantnas_sr.upscaling.pixels import upscale

METADATA = {"version": "1", "scale": "2", "multiple": "1", "halo": "1", "bits": "[8]", "genotype": "", "command": ""}


class Files:
    """Files of a few operators."""

    name = "LiteRT files"
    limits = fuzzing.Limits()

    def prepare(self, folder: Path) -> None:
        """Make the whole file."""
        self.path = folder / "net.tflite"
        self.whole = _network(METADATA)
        self.image = np.zeros((8, 8, 3), np.uint8)
        self.runtime = ""

    def case(self, rng: Random) -> Callable[[], Any]:
        """Damage it, or give it odd metadata."""
        odd = {**METADATA, rng.choice([*METADATA]): rng.choice(ODD)}
        self.path.write_bytes(_network(odd) if rng.random() < 0.1 else mutated(rng, self.whole))
        self.runtime = rng.choice(LITERT_RUNTIMES)
        return self._read

    def _read(self) -> None:
        upscale(self.image, ExportedNetwork(self.path, open_session(self.runtime, self.path, 1)))

    def protected(self) -> None:
        """As a user reads it."""
        upscale(self.image, open_network(self.path, self.runtime, 1))


def _network(metadata: Dict[str, str]) -> bytes:
    rng, file, steps = np.random.default_rng(0), FlatBuffer("x2"), np.full(12, 2.0**-9)
    given = file.image("lq", 3, "UINT8", 2.0**-8)
    image = file.operator("QUANTIZE", 2, [given], file.image("image", 3, "INT8", 2.0**-8, -128), "QuantizeOptions")
    weight = file.constant("weight", rng.integers(-90, 90, (12, 3, 3, 3), dtype=np.int8), steps)
    bias = file.constant("bias", np.arange(12, dtype=np.int32), steps * 2.0**-8)
    shape = {"strideW": 1, "strideH": 1, "fusedActivationFunction": 1}
    features = [file.image(name, 12, "INT8", 2.0**-6, -128) for name in ("head", "sum")]
    file.operator("CONV_2D", 3, [image, weight, bias], features[0], "Conv2DOptions", **shape)
    file.operator("ADD", 2, [features[0], features[0]], features[1], "AddOptions")
    pixels = file.image("pixels", 3, "INT8", 2.0**-6, -128)
    file.operator("DEPTH_TO_SPACE", 1, features[1:], pixels, "DepthToSpaceOptions", blockSize=2)
    made = file.operator("QUANTIZE", 2, [pixels], file.image("sr", 3, "UINT8", 2.0**-6), "QuantizeOptions")
    return file.finish(given, made, {f"quantnas_sr.{key}": text for key, text in metadata.items()})


if __name__ == "__main__":
    fuzzing.main(Files())
