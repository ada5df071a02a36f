"""Whether the network takes the images of the datasets, and makes images of the right size of them."""

from typing import Any, Dict, Optional, Tuple

import torch
from torch import nn

from quantnas_sr.archs.quantized_supernet_arch import QuantizedSupernet
from quantnas_sr.errors import OptionError
from quantnas_sr.input_shapes import InputShape, input_shape, output_shape, run_fitting
from quantnas_sr.options.checks.datasets import channels_of, lacks_gt
from quantnas_sr.quantization import set_quantize
from quantnas_sr.search_space import DerivedNetwork, Supernet

Options = Dict[str, Any]

#: Channels that the networks of search spaces take.
_OF_SEARCH_SPACES = 3
#: Side of the image that a network is tried on where any would do.
_SIDE = 48


def check_inputs(opt: Options, net: Optional[nn.Module]) -> None:
    """Try the network on an image of the size of a training patch, and on one of each other dataset, without values.

    Args:
        opt: checked options.
        net: of `check_network`; without it nothing is tried.

    Raises:
        OptionError: it does not take such images, or makes others of them than the dataset's GT.
    """
    if net is None:
        return
    if isinstance(net, (Supernet, DerivedNetwork)):
        for phase, dataset in opt["datasets"].items():
            if channels_of(dataset) not in (None, _OF_SEARCH_SPACES):
                raise OptionError(_wrong_channels(phase, 1, _OF_SEARCH_SPACES))
        return
    if isinstance(net, QuantizedSupernet):
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            net, _ = net.example()
    set_quantize(net, False)
    trial = _Trial(net)
    for phase, dataset in opt["datasets"].items():
        channels = channels_of(dataset)
        if channels is not None:
            patch = dataset["gt_size"] // dataset["scale"] if phase == "train" and dataset.get("scale") else None
            trial.check(phase, dataset, channels, patch)


class _Trial:
    """Runs a network on images of some shapes, each once."""

    def __init__(self, net: nn.Module) -> None:
        self.net = net.eval()
        self._outputs: Dict[Tuple[int, ...], Any] = {}
        self._takes: Optional[InputShape] = None

    def check(self, phase: str, dataset: Options, channels: int, patch: Optional[int]) -> None:
        """Raise an OptionError unless the network takes the images of a dataset."""
        side = patch or _SIDE
        output = self._output((1, channels, side, side), any_size=patch is None)
        if isinstance(output, Exception):
            raise OptionError(self._why_not(phase, dataset, channels, patch, output))
        scale = dataset.get("scale")
        if scale is None or lacks_gt(dataset):
            return
        if output[2:] != (scale * side, scale * side):
            raise OptionError(
                f"scale: {scale} here, but network_g makes {output[3]}x{output[2]} pixels of {side}x{side}"
            )
        if output[1] != channels:
            raise OptionError(
                f"network_g: makes images of {output[1]} channels, but those of datasets.{phase} have {channels}"
            )

    def _output(self, shape: Tuple[int, ...], any_size: bool) -> Any:
        """The shape of the output, or why there is none."""
        if shape not in self._outputs:
            self._outputs[shape] = self._tried(shape, any_size)
        return self._outputs[shape]

    def _tried(self, shape: Tuple[int, ...], any_size: bool) -> Any:
        net = _AnySize(self.net, self._multiple) if any_size else self.net
        try:
            return output_shape(net, shape)
        except Exception as error:
            problem = error
        try:  # networks that look at values cannot run without
            with torch.no_grad():
                return tuple(net(torch.zeros(shape)).shape)
        except Exception:
            return problem

    def _multiple(self) -> int:
        takes = self._found()
        return takes.multiple if takes else 1

    def _found(self) -> Optional[InputShape]:
        self._takes = self._takes or input_shape(self.net)
        return self._takes

    def _why_not(self, phase: str, dataset: Options, channels: int, patch: Optional[int], error: Exception) -> str:
        takes = self._found()
        if takes and takes.channels != channels:
            return _wrong_channels(phase, channels, takes.channels)
        if takes and patch and patch % takes.multiple:
            multiple = takes.multiple * dataset["scale"]
            return f"datasets.{phase}.gt_size: {dataset['gt_size']} is not allowed. Allowed: multiples of {multiple}"
        reason = " ".join(str(error).split()) or type(error).__name__
        return f"network_g: cannot take images of {channels} channels, as those of datasets.{phase} are: {reason}"


class _AnySize(nn.Module):
    """A network, padded as a validation pads it."""

    def __init__(self, net: nn.Module, multiple: Any) -> None:
        super().__init__()
        self.net, self.multiple = net, multiple

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) -> (N, C, s*H, s*W)."""
        return run_fitting(self.net, x, self.multiple)


def _wrong_channels(phase: str, given: int, taken: int) -> str:
    colors = {1: "y", 3: "rgb"}
    return (
        f"datasets.{phase}: color: {colors[given]} gives images of {given} channel{'s' if given > 1 else ''}, "
        f"but network_g takes {taken}. Allowed: color: {colors[taken]}"
    )
