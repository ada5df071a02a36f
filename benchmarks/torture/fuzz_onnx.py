"""Damages exported ONNX files and runs them as `quantnas upscale` does.

The process that a file without a valid digest is tried in takes a second, and so here the forked process of the case
stands for it. Where that one crashes, the file is opened once more as a user would.
"""

import os
from pathlib import Path
from random import Random
from typing import Any, Callable, List

import fuzzing
import numpy as np
import onnx
from broken_bytes import mutated
from onnx import TensorProto, helper, numpy_helper

from quantnas_sr.deploy.exported_network import ExportedNetwork
from quantnas_sr.deploy.opening import open_session
from quantnas_sr.deploy.packages import installed_runtimes
from quantnas_sr.deploy.runtimes import open_network
from quantnas_sr.upscaling.pixels import upscale

#: One in so many files is opened in OpenVINO, which is slow, where there is ONNX Runtime too.
RARELY = int(os.environ.get("ONE_IN_OPENVINO", "10"))
#: Metadata that are none, or too much.
ODD = ("-1", "0", "1", "3", "65", "9" * 5000, "", "\u0664", "4.0", "nan", " 2", "1_0", "0x2", "\0", "wide", "65537")


class Networks:
    """Networks of a few nodes."""

    name = "ONNX files"
    limits = fuzzing.Limits()

    def prepare(self, folder: Path) -> None:
        """Make the whole files."""
        self.path = folder / "net.onnx"
        self.models = [_network(quantized) for quantized in (False, True)]
        self.image = np.zeros((8, 8, 3), np.uint8)
        self.runtime = ""

    def case(self, rng: Random) -> Callable[[], Any]:
        """Damage one, or give it odd metadata."""
        model = rng.choice(self.models)
        odd = rng.random() < 0.15
        self.path.write_bytes(_with_odd_metadata(rng, model) if odd else mutated(rng, model.SerializeToString()))
        installed = installed_runtimes()
        rare = [name for name in installed if name == "openvino" and (len(installed) == 1 or rng.random() * RARELY < 1)]
        self.runtime = (rare or [name for name in installed if name != "openvino"])[0]
        return self._read

    def _read(self) -> None:
        upscale(self.image, ExportedNetwork(self.path, open_session(self.runtime, self.path, 1)))

    def protected(self) -> None:
        """As a user reads it."""
        upscale(self.image, open_network(self.path, self.runtime, 1))


def _with_odd_metadata(rng: Random, model: Any) -> bytes:
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    entry = rng.choice(changed.metadata_props)
    if rng.random() < 0.2:
        entry.key = rng.choice(ODD)
    else:
        entry.value = rng.choice(ODD)
    data = changed.SerializeToString()
    if rng.random() < 0.2:  # no UTF-8
        data = data.replace(entry.value.encode("utf-8") or b"lq", b"\xff", rng.choice((1, -1)))
    return data


def _network(quantized: bool) -> Any:
    rng = np.random.default_rng(0)
    constants = {"weight": rng.uniform(0, 0.07, (12, 3, 3, 3)).astype(np.float32)}
    weight, image = "weight", "lq"
    nodes: List[Any] = []
    if quantized:
        constants["weight"] = rng.integers(-90, 90, (12, 3, 3, 3), dtype=np.int8)
        constants["step"] = np.float32(2.0**-8)
        constants["steps"], constants["zeros"] = np.full(12, 2.0**-9, np.float32), np.zeros(12, np.int8)
        constants["zero"] = np.uint8(0)
        nodes = [
            helper.make_node("QuantizeLinear", ["lq", "step", "zero"], ["integers"], "q"),
            helper.make_node("DequantizeLinear", ["integers", "step", "zero"], ["rounded"], "d"),
            helper.make_node("DequantizeLinear", ["weight", "steps", "zeros"], ["kernel"], "w", axis=0),
        ]
        weight, image = "kernel", "rounded"
    nodes += [
        helper.make_node("Conv", [image, weight], ["features"], "head#0", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["features"], ["positive"]),
        helper.make_node("Add", ["positive", "features"], ["sum"]),
        helper.make_node("DepthToSpace", ["sum"], ["sr"], blocksize=2, mode="CRD"),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, sides)
        for name, sides in (("lq", ["n", 3, "h", "w"]), ("sr", ["n", 3, "sh", "sw"]))
    ]
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "network", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    metadata = {
        "version": "1",
        "scale": "2",
        "multiple": "1",
        "halo": "1",
        "bits": "[8]",
        "genotype": "",
        "command": "",
    }
    helper.set_model_props(model, {f"quantnas_sr.{key}": value for key, value in metadata.items()})
    return model


if __name__ == "__main__":
    fuzzing.main(Networks())
