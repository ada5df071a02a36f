"""The network that a genotype describes, and how it is loaded from a checkpoint."""

from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Union

from torch import Tensor, nn

from quantnas_sr.bounds import bounded, limits_of
from quantnas_sr.errors import CalibrationError, GenotypeError, OptionError
from quantnas_sr.pth import EXTRA_STATE, check_state, description_in, fill, read_state
from quantnas_sr.quantization import QuantConv2d, naming_layer
from quantnas_sr.quantization.expansion import expand
from quantnas_sr.search_space.genotype import Genotype
from quantnas_sr.search_space.mixing.bit_mixer import quantized_operation
from quantnas_sr.search_space.slots import Slot
from quantnas_sr.search_space.space import check_positive, get_search_space


class DerivedNetwork(nn.Module):
    """A skeleton whose slots hold the operations of a genotype, quantized to its bit widths.

    Its state dict carries the genotype as bytes, so that a checkpoint alone rebuilds the network (`load_derived`).

    Args:
        genotype: a genotype, its file, or its plain data.
        expansion: train every weight as a sum with a product of two matrices of this width, see
            `quantization.expansion`; 0 for the weights alone. A checkpoint of either kind loads into the other, and the
            last one of a training holds the sums.

    Raises:
        GenotypeError: the genotype cannot be read, or belongs to another search space than this class.
        OptionError: ``expansion`` is not a whole number of at least 0.
    """

    #: The search space that the genotype must have; None allows any.
    search_space: Optional[str] = None

    def __init__(self, genotype: Union[str, Path, Mapping[str, Any], Genotype], expansion: int = 0) -> None:
        super().__init__()
        if expansion:
            check_positive("expansion", expansion)
        self.genotype = Genotype.of(genotype)
        given = self.genotype.search_space
        if self.search_space not in (None, given):
            raise GenotypeError(
                f"{type(self).__name__} is for the search space {self.search_space!r}, the genotype is of {given!r}"
            )
        with bounded(tensors=False):
            self._build(expansion)

    def _build(self, expansion: int) -> None:
        g, space = self.genotype, get_search_space(self.genotype.search_space)

        def fill(name: str, in_channels: int, out_channels: int) -> nn.Module:
            operation, bits = g.slots[name]
            style = space.style(Slot(name, in_channels, out_channels), g.activation_quantizer)
            return quantized_operation(operation, in_channels, out_channels, g.num_feat, bits, style)

        self.skeleton = space.build(fill, g.scale, g.num_feat, g.num_block, g.norm)
        if expansion:
            for layer in [module for module in self.skeleton.modules() if isinstance(module, QuantConv2d)]:
                expand(layer, expansion)

    def forward(self, x: Tensor) -> Tensor:
        """RGB in 0..1, (N, 3, H, W) -> (N, 3, s*H, s*W)."""
        try:
            return self.skeleton(x)
        except CalibrationError as error:
            raise naming_layer(error, self.skeleton) from None

    def get_extra_state(self) -> Tensor:
        """The genotype in the state dict: JSON as bytes."""
        return self.genotype.to_tensor()

    def set_extra_state(self, state: Tensor) -> None:
        """Check that a checkpoint is of this genotype.

        Raises:
            GenotypeError: it is of another one; the message names the first difference.
        """
        difference = first_difference(Genotype.from_tensor(state), self.genotype)
        if difference:
            raise GenotypeError(f"the checkpoint is of another genotype: {difference}")


def first_difference(theirs: Genotype, ours: Genotype) -> str:
    """The first difference between two genotypes, in words; empty if they are equal."""
    for key in ("search_space", "scale", "num_feat", "num_block", "norm", "activation_quantizer"):
        if getattr(theirs, key) != getattr(ours, key):
            return f"{key} is {getattr(theirs, key)} there and {getattr(ours, key)} here"
    for name, choice in ours.slots.items():
        if theirs.slots[name] != choice:
            their, our = theirs.slots[name], choice
            return f"{name} is {their.operation} at {their.bits} bits there and {our.operation} at {our.bits} bits here"
    return ""


def derived_from(state: Dict[str, Tensor], path: Union[str, Path]) -> DerivedNetwork:
    """The network of a state dict, in evaluation mode on the CPU; errors name ``path``.

    Raises:
        GenotypeError: the state dict does not describe a derived network, or does not fit it.
    """
    if "quantized_arch" in description_in(state):
        raise GenotypeError(f"{path}: is the checkpoint of a QuantizedArch, which has no genotype")
    if EXTRA_STATE not in state:
        raise GenotypeError(f"{path}: carries no genotype, so it is not of a derived network")
    check_state(state, path)
    genotype = Genotype.from_tensor(state[EXTRA_STATE], where=str(path))
    try:
        with bounded(tensors=False, most=limits_of(state)):
            network = DerivedNetwork(genotype)
    except OptionError as error:
        raise GenotypeError(f"{path}: {error}") from None
    fill(network, state, f"{path}: its weights do not fit its genotype")
    return network.eval()


def load_derived(path: Union[str, Path], param_key: Optional[str] = None) -> DerivedNetwork:
    """Rebuild a derived network from its checkpoint alone, in evaluation mode on the CPU.

    Args:
        path: the ``.pth``.
        param_key: ``params`` or ``params_ema``; by default the better, see `pth.key_of`.

    Raises:
        GenotypeError: the file cannot be read, or is not the checkpoint of a derived network.
    """
    return derived_from(read_state(path, param_key), path)
