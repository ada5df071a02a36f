"""What an exported file says about itself: scale, bit widths, genotype, the command that made it."""

import json
from typing import Dict, Sequence

from torch import nn

from quantnas_sr.checkpoints import scale_of
from quantnas_sr.deploy.receptive_field import halo
from quantnas_sr.export.options import ExportOptions
from quantnas_sr.export.rewrites.byte_images import ByteImages
from quantnas_sr.quantization import FULL_PRECISION
from quantnas_sr.search_space import DerivedNetwork
from quantnas_sr.search_space.skeletons.adq import is_dynamic
from quantnas_sr.version import __version__


def metadata_of(network: nn.Module, options: ExportOptions, multiple: int, widths: Sequence[int]) -> Dict[str, str]:
    """The metadata, by key.

    Args:
        network: of `load_for_export`.
        options: of the export.
        multiple: that the sides of images must have.
        widths: the bit widths of its layers.
    """
    scale = scale_of(network)
    reach = halo(network, scale)
    return {
        "version": __version__,
        "scale": str(scale),
        "multiple": str(multiple),
        "halo": "" if reach is None else str(reach),
        "bits": json.dumps(list(widths) if options.quantized else [FULL_PRECISION]),
        "genotype": _genotype(network),
        "adq": options.adq if is_dynamic(network) or options.adq == "static" else "",
        "outputs": options.outputs if options.quantized else "",
        "io": options.io,
        "size": options.static or "",
        "symmetric": "yes" if options.symmetric else "",
        "command": options.command,
    }


def _genotype(network: nn.Module) -> str:
    network = network.network if isinstance(network, ByteImages) else network
    return json.dumps(network.genotype.to_dict()) if isinstance(network, DerivedNetwork) else ""
