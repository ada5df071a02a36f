"""Any BasicSR network with its convolutions quantized."""

import json
from functools import cached_property
from pathlib import Path
from typing import Any, Dict, Iterator, Mapping, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor, nn

from quantnas_sr.errors import CalibrationError, OptionError, unknown
from quantnas_sr.input_shapes import InputShape, copied, input_shape, outside_of_modes, run_fitting
from quantnas_sr.mixed_precision.base_network import build, convolutions, matching, replace
from quantnas_sr.mixed_precision.bits_by_layer import BitsByLayer
from quantnas_sr.pth import EXTRA_STATE
from quantnas_sr.quantization import (
    ACTIVATION_QUANTIZERS,
    FULL_PRECISION,
    QuantConv2d,
    check_bits,
    naming_layer,
    set_quantize,
)
from quantnas_sr.registration import ARCH_REGISTRY


@ARCH_REGISTRY.register()
class QuantizedArch(nn.Module):
    """A registered network whose ``nn.Conv2d`` layers quantize their weight (LSQ) and their input.

    Nothing else of the network changes, and layers of 32 bits stay as they are. The state dict has the keys of the
    network and those of the quantizers. A checkpoint of the network in full precision loads too, strictly; the
    quantizers then start from its weights. The state dict also describes the network (arch, bits), so that
    `load_network` needs nothing but the checkpoint.

    ``hwgq`` clips a layer's input to the range from 0 to a fixed value, so it suits layers that follow a ReLU.

    Args:
        arch: ``type`` of a registered arch, and its own options. It is built on the CPU.
        bits: width of weights and activations, 2 to 16 or 32.
        bits_by_layer: widths of single layers, by name; or a YAML or JSON file of them, such as the
            ``bits_by_layer.yml`` of a search.
        skip: patterns (`fnmatch`) of the names of layers that stay in full precision, whatever their width.
        activation_quantizer: ``lsq`` (trained step, negative inputs too) or ``hwgq`` (fixed step).

    Raises:
        OptionError: an argument cannot be used; one line that says which and what is allowed.
    """

    def __init__(
        self,
        arch: Mapping[str, Any],
        bits: int = 8,
        bits_by_layer: Union[str, Path, Mapping[str, int], None] = None,
        skip: Optional[Sequence[str]] = None,
        activation_quantizer: str = "lsq",
    ) -> None:
        super().__init__()
        check_bits(bits)
        if activation_quantizer not in ACTIVATION_QUANTIZERS:
            raise OptionError(unknown("activation_quantizer", activation_quantizer, ACTIVATION_QUANTIZERS))
        self.network = build(arch)
        layers = convolutions(self.network)
        widths = {**dict.fromkeys(layers, bits), **BitsByLayer.of(bits_by_layer, layers).bits}
        widths.update(dict.fromkeys(matching(skip or (), layers), FULL_PRECISION))
        with torch.device("cpu"):
            quantized = {
                conv: QuantConv2d.of(conv, widths[name], activation_quantizer)
                for name, conv in layers.items()
                if widths[name] != FULL_PRECISION
            }
        replace(self.network, quantized)
        arguments = {"arch": dict(arch), "bits": bits, "bits_by_layer": widths}
        self.arguments = {**arguments, "activation_quantizer": activation_quantizer}

    def forward(self, x: Tensor) -> Tensor:
        """Run the network. Images of sizes that it does not take are padded, and the output is cropped.

        Raises:
            CalibrationError: in evaluation mode, if no training batch has passed a layer that is used.
        """
        try:
            return run_fitting(self.network, x, lambda: self.size_multiple)
        except CalibrationError as error:
            raise naming_layer(error, self.network) from None

    @cached_property
    def input_shape(self) -> Optional[InputShape]:
        """The channels and sides that the network accepts; None if they cannot be determined."""
        with outside_of_modes():
            network = copied(self.network)
            set_quantize(network, False)
            return input_shape(network)

    @property
    def size_multiple(self) -> int:
        """The number that must divide the sides of an image for the network itself; 1 for most networks."""
        return self.input_shape.multiple if self.input_shape else 1

    def quantized_layers(self) -> Iterator[Tuple[str, QuantConv2d]]:
        """The name (within the network) and layer of every quantized convolution."""
        for name, module in self.network.named_modules():
            if isinstance(module, QuantConv2d):
                yield name, module

    def state_dict(self, *args: Any, **kwargs: Any) -> Dict[str, Any]:
        """The state dict of the network, under the network's own keys, and arguments of this class (JSON as bytes)."""
        state = self.network.state_dict(*args, **kwargs)
        network = {"quantized_arch": self.arguments, "arch_module": type(self.network).__module__}
        described = json.dumps(network, default=list)
        state[kwargs.get("prefix", "") + EXTRA_STATE] = torch.tensor(list(described.encode()), dtype=torch.uint8)
        return state

    def _load_from_state_dict(self, state_dict: Dict[str, Any], prefix: str, *args: Any) -> None:
        given = {key[len(prefix) :]: state_dict.pop(key) for key in list(state_dict) if key.startswith(prefix)}
        given.pop(EXTRA_STATE, None)
        with_quantizers = {key.partition(".weight_quantizer.")[0] for key in given if ".weight_quantizer." in key}
        for name, layer in self.network.named_modules(remove_duplicate=False):
            weight = given.get(f"{name}.weight") if isinstance(layer, QuantConv2d) else None
            if weight is not None and weight.shape == layer.weight.shape and name not in with_quantizers:
                given.update({f"{name}.{key}": value for key, value in layer.initial_quantizers(weight).items()})
        state_dict.update({f"{prefix}network.{key}": value for key, value in given.items()})
        super()._load_from_state_dict(state_dict, prefix, *args)
