"""The LiteRT (TFLite) file of a network, kept if it passes its check."""

from pathlib import Path
from typing import Dict, Sequence

import numpy as np
from torch import nn

from quantnas_sr.checkpoints import scale_of
from quantnas_sr.deploy.packages import LITERT_RUNTIMES
from quantnas_sr.export.kept import Exported, kept
from quantnas_sr.export.litert.byte_network import ByteNetwork, chain
from quantnas_sr.images.units import from_unit, to_unit


def tflite_file(network: nn.Module, output: Path, images: Sequence[np.ndarray], metadata: Dict[str, str]) -> Exported:
    """Write the ``.tflite`` of a network, checked.

    Args:
        network: a plain one (`check_plain`), of `load_for_export`.
        output: the file.
        images: (1, 3, H, W) each, in 0..1, that it is checked with.
        metadata: by key.

    Raises:
        CheckError: the runtime computes something else; then no file is left.
    """
    from quantnas_sr.export.litert.graph import build

    scale, layers = scale_of(network), list(chain(network))
    if layers[0][1].quantize:
        network, metadata = ByteNetwork(network), {**metadata, "outputs": "int8", "io": "uint8"}
    content, runtimes = build(network, scale, metadata), LITERT_RUNTIMES
    pixels = [to_unit(from_unit(image, np.uint8)) for image in images]
    agreements, others, size = kept(network, lambda path: path.write_bytes(content), output, runtimes, pixels)
    return Exported(output, agreements, len(layers), size, 0, others, limited=getattr(network, "limited", 0))
