"""The network that is exported, and the images that it is checked with."""

import os
from dataclasses import replace
from typing import List, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from torch import nn

from quantnas_sr.checkpoints import check_calibrated, load_network
from quantnas_sr.deploy.luma import for_rgb
from quantnas_sr.errors import DataError, OptionError
from quantnas_sr.export.options import ExportOptions
from quantnas_sr.export.rewrites.byte_images import ByteImages
from quantnas_sr.export.rewrites.channel_scales import fold_channel_scales
from quantnas_sr.export.rewrites.clear_sums import clear_sums
from quantnas_sr.export.rewrites.symmetric import changed, make_symmetric
from quantnas_sr.export.rounded_outputs import round_outputs
from quantnas_sr.export.sample_images import tensors
from quantnas_sr.export.static_adq import calibrated, make_static, statistics
from quantnas_sr.quantization import set_quantize
from quantnas_sr.search_space.skeletons.adq import is_dynamic

#: Number of calibration images: at most from a folder, and synthetic ones.
CALIBRATED, SYNTHETIC = 100, 8


def load_for_export(weights: Union[str, os.PathLike], options: ExportOptions) -> nn.Module:
    """The network that is exported, in evaluation mode; the exported file must compute what it computes.

    Args:
        weights: the ``.pth`` of a derived network or of a `QuantizedArch`.
        options: of the export.

    Raises:
        QuantNASError: the checkpoint or the calibration images cannot be used.
    """
    network = for_rgb(load_network(weights, options.param_key))
    if options.quantized:
        check_calibrated(network, weights)
    else:
        set_quantize(network, False)
    folder = options.calibration
    if options.adq == "static":
        if not is_dynamic(network):
            raise OptionError(f"adq: {weights} has no ADQ or AdaDM whose deviation could be constant")
        stds = calibrated(network, tensors(folder, None, CALIBRATED)) if folder else statistics(network)
        network = make_static(network, stds)
    fold_channel_scales(network)
    if options.outputs == "int8":
        network = round_outputs(network, tensors(folder, None, CALIBRATED if folder else SYNTHETIC))
    if options.symmetric:
        network = make_symmetric(network)
    return clear_sums(ByteImages(network).eval()) if options.io == "uint8" else network


def loss_of_symmetry(
    network: nn.Module, weights: Union[str, os.PathLike], options: ExportOptions, images: Sequence[np.ndarray]
) -> Optional[str]:
    """What a symmetric file loses to the network as trained, in words; None where its integers are the trained ones.

    Args:
        network: of `load_for_export`.
        weights, options: of it.
        images: (1, 3, H, W) each, in 0..1.
    """
    trained = load_for_export(weights, replace(options, symmetric=False))
    layers = changed(trained)
    if not layers:
        return None
    with torch.inference_mode():
        pairs = [(network(x).clamp(0, 1), trained(x).clamp(0, 1)) for x in map(torch.from_numpy, images)]
    error = sum(float((a - b).square().mean()) for a, b in pairs) / len(pairs)
    psnr = f"{-10 * np.log10(max(error, 1e-12)):.2f} dB from the network as trained, on the images of the check"
    return f"symmetric: {len(layers)} layers of 8 bits have larger steps; {psnr}"


def sized(
    images: Sequence[np.ndarray], multiple: int, size: Optional[Tuple[int, int]], folder: Optional[str]
) -> List[np.ndarray]:
    """Images (1, 3, H, W) in sizes that a file takes: cropped to multiples, or repeated and cropped to the only size.

    Raises:
        DataError: an image is too small.
        OptionError: the size is none that the network takes.
    """
    if size is not None:
        if any(side % multiple for side in size):
            raise OptionError(f"static: {size[1]}x{size[0]} is not a multiple of {multiple}, which the network needs")
        times = max(-(-side // least) for x in images for side, least in zip(size, x.shape[2:]))
        return [np.tile(x, (1, 1, times, times))[..., : size[0], : size[1]] for x in images]
    cropped = [x[..., : x.shape[2] // multiple * multiple, : x.shape[3] // multiple * multiple] for x in images]
    if not all(image.size for image in cropped):
        raise DataError(f"{folder}: an image is smaller than {multiple}x{multiple}, which the network needs")
    return cropped
