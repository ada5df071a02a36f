"""A search for the bit widths of the layers of any BasicSR network."""

from functools import cached_property
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from quantnas_sr.archs.quantized_arch import QuantizedArch
from quantnas_sr.errors import OptionError
from quantnas_sr.input_shapes import InputShape, input_shape, outside_of_modes, run_fitting
from quantnas_sr.mixed_precision.base_network import build, convolutions, matching, replace
from quantnas_sr.mixed_precision.bits_by_layer import BitsByLayer
from quantnas_sr.mixed_precision.mixed_conv import MIXED_CONVS, MixedConv, initial_quantizers
from quantnas_sr.quantization import ACTIVATION_QUANTIZERS, FULL_PRECISION
from quantnas_sr.registration import ARCH_REGISTRY
from quantnas_sr.search_space import SearchNetwork
from quantnas_sr.search_space.space import check_choice

_MIXERS = tuple(MIXED_CONVS.values())


@ARCH_REGISTRY.register()
class QuantizedSupernet(SearchNetwork):
    """A registered network whose ``nn.Conv2d`` layers compute several bit widths at once, weighted by alphas.

    With ``bit_mixer: shared`` this is EdMIPS (Cai, Vasconcelos, CVPR 2020) with one width for a layer's weight and
    input. Every layer is a slot with the layer's name and one operation. The result of the search is a `BitsByLayer`;
    its file, ``bits_by_layer.yml``, is what `QuantizedArch` takes as ``bits_by_layer``. The state dict has the keys of
    the network, those of the quantizers, and ``alphas.*``; a checkpoint of the network in full precision loads too,
    strictly.

    Args:
        arch: ``type`` of a registered arch, and its own options.
        bits: bit widths to choose from.
        bit_mixer: ``shared`` (eq. 4), ``noise`` (eq. 5, SAN) or ``separate`` (eq. 3).
        skip: patterns (`fnmatch`) of the names of layers that stay in full precision.
        activation_quantizer: ``lsq`` (trained step, signed where the input is) or ``hwgq`` (fixed step after a ReLU).
        selector: ``softmax``, ``gumbel`` or ``hard_gumbel``.
        temperature: of the gumbel selectors, at the start and at the end of the search; falls geometrically.

    Raises:
        OptionError: an argument cannot be used; one line that says which and what is allowed.
    """

    def __init__(
        self,
        arch: Mapping[str, Any],
        bits: Sequence[int] = (4, 8),
        bit_mixer: str = "shared",
        skip: Optional[Sequence[str]] = None,
        activation_quantizer: str = "lsq",
        selector: str = "softmax",
        temperature: Tuple[float, float] = (5.0, 0.5),
    ) -> None:
        super().__init__(bits, selector, temperature)
        check_choice("bit_mixer", bit_mixer, tuple(MIXED_CONVS))
        check_choice("activation_quantizer", activation_quantizer, tuple(ACTIVATION_QUANTIZERS))
        self.arch, self.activation_quantizer = arch, activation_quantizer
        self.network = build(arch)
        layers = convolutions(self.network)
        self.skipped = matching(skip or (), layers)
        searched = {name: conv for name, conv in layers.items() if name not in self.skipped}
        if not searched:
            raise OptionError(f"skip: {list(skip)} leaves no layer of {arch['type']} to search")
        mixer = MIXED_CONVS[bit_mixer]
        with torch.device("cpu"):
            mixing = {conv: mixer(conv, self.bits, activation_quantizer) for conv in searched.values()}
        replace(self.network, mixing)
        self.add_alphas(dict.fromkeys(searched, 1))

    def example(self) -> Tuple[nn.Module, Dict[str, str]]:
        """The network in full precision, with new weights; a slot has the name of its layer."""
        return build(self.arch), {layer: layer for layer in self.alphas_by_slot()}

    def run(self, x: Tensor) -> Tensor:
        """Run the network. Images of sizes that it does not take are padded, and the output is cropped."""
        return run_fitting(self.network, x, lambda: self.size_multiple)

    @cached_property
    def input_shape(self) -> Optional[InputShape]:
        """The channels and sides that the network accepts; None if they cannot be determined."""
        with outside_of_modes(), torch.random.fork_rng(devices=[]):
            return input_shape(build(self.arch))

    @property
    def size_multiple(self) -> int:
        """The number that must divide the sides of an image for the network itself; 1 for most networks."""
        return self.input_shape.multiple if self.input_shape else 1

    def places(self) -> Iterator[Tuple[str, MixedConv]]:
        """The name (within the network) and layer of every mixed convolution."""
        return ((name, module) for name, module in self.network.named_modules() if isinstance(module, _MIXERS))

    def edge_names(self) -> Dict[str, List[str]]:
        """The names of the edges of each layer: ``4bit`` and so on."""
        return {layer: [f"{bits}bit" for bits in self.bits] for layer in self.alphas_by_slot()}

    def genotype(
        self, origin: Optional[Mapping[str, Any]] = None, choice: Optional[Mapping[str, int]] = None
    ) -> BitsByLayer:
        """For each layer the width of the largest alpha, or that of ``choice``; skipped layers have 32 bits."""
        best = choice or {layer: int(alphas.argmax()) for layer, alphas in self.alphas_by_slot().items()}
        chosen = {layer: self.bits[edge] for layer, edge in best.items()}
        network = {"arch": self.arch, "activation_quantizer": self.activation_quantizer}
        return BitsByLayer({**dict.fromkeys(self.skipped, FULL_PRECISION), **chosen}, {**network, **(origin or {})})

    @torch.no_grad()
    def derive(self, genotype: Optional[BitsByLayer] = None) -> QuantizedArch:
        """The network at the widths of a genotype (by default of `genotype`), with the weights that were trained here.

        With ``bit_mixer: shared`` or ``separate`` it computes what the supernet computes at one-hot alphas. Under
        ``noise`` the steps are not trained; they start from the weights and from the last training batch.
        """
        bits = (genotype or self.genotype()).bits
        with torch.random.fork_rng(devices=[]):
            derived = QuantizedArch(self.arch, bits_by_layer=bits, activation_quantizer=self.activation_quantizer)
        layers = dict(self._mixers_by_path())
        inside = tuple(f"{path}." for path in layers)
        state = {key: value for key, value in self.network.state_dict().items() if not key.startswith(inside)}
        names = {layer: name for name, layer in self.places()}
        for path, layer in layers.items():
            chosen = layer.chosen_state(bits[names[layer]])
            fresh = initial_quantizers(derived.network.get_submodule(path), chosen["weight"])
            state.update({f"{path}.{key}": value for key, value in {**fresh, **chosen}.items()})
        derived.load_state_dict(state)
        return derived.to(next(self.parameters()).device).train(self.training)

    def _mixers_by_path(self) -> Iterator[Tuple[str, MixedConv]]:
        """As `places`, but by module path, with every path of a layer that occurs several times."""
        for path, module in self.network.named_modules(remove_duplicate=False):
            if isinstance(module, _MIXERS):
                yield path, module

    def state_dict(self, *args: Any, prefix: str = "", **kwargs: Any) -> Dict[str, Any]:
        """The state dict of the network, with the network's own keys, and the alphas."""
        state = self.network.state_dict(*args, prefix=prefix, **kwargs)
        kwargs["destination"] = state
        return self.alphas.state_dict(*args, prefix=f"{prefix}alphas.", **kwargs)

    def _load_from_state_dict(self, state_dict: Dict[str, Any], prefix: str, *args: Any) -> None:
        given = {key[len(prefix) :]: state_dict.pop(key) for key in list(state_dict) if key.startswith(prefix)}
        ours = {f"alphas.{key}": alphas for key, alphas in self.alphas.items()}
        found = {key: given.pop(key) for key in ours if key in given}
        for path, layer in self._mixers_by_path():
            plain = {key: given[f"{path}.{key}"] for key in ("weight", "bias") if f"{path}.{key}" in given}
            others = [key for key in given if key.startswith(f"{path}.") and key[len(path) + 1 :] not in plain]
            if not others and "weight" in plain and plain["weight"].dim() == 4:
                given = {key: value for key, value in given.items() if not key.startswith(f"{path}.")}
                given.update({f"{path}.{key}": value for key, value in layer.state_from(plain).items()})
        state_dict.update({f"{prefix}network.{key}": value for key, value in given.items()})
        state_dict.update({f"{prefix}{key}": value for key, value in (found or ours).items()})
        super()._load_from_state_dict(state_dict, prefix, *args)
