"""Search spaces, and their registry."""

from dataclasses import dataclass
from typing import Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import torch
from torch import nn

from quantnas_sr.bounds import MOST_BLOCKS, MOST_CHANNELS
from quantnas_sr.errors import OptionError, unknown
from quantnas_sr.search_space.conv_spec import ConvStyle
from quantnas_sr.search_space.operations import check_operation, convolutions
from quantnas_sr.search_space.skeletons.adq import NORMS
from quantnas_sr.search_space.slots import Fill, Slot
from quantnas_sr.values.kinds import shown

SCALES = (2, 3, 4)
#: The quantizer for each value of ``activation_quantizer:`` in the options. Both apply a ReLU to their input first.
SLOT_QUANTIZERS = {"hwgq": "hwgq", "lsq": "relu_lsq"}

#: Names of candidate operations for each kind of slot.
Candidates = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class SearchSpace:
    """A skeleton, and the operations that its slots may hold.

    Args:
        name: the value of ``search_space:`` in the options.
        skeleton: ``skeleton(fill, scale=, num_feat=, num_block=, norm=)`` returns the network, (N, 3, H, W) ->
            (N, 3, scale*H, scale*W), whose slots are ``fill(name, in_channels, out_channels)``.
        candidates: named lists of candidates; ``default`` must be among them.
        num_feat, num_block: default number of channels and of repeated blocks.
        norms: the allowed values of ``norm:``, see `ADQ`; the first one is the default.
        activation_quantizer: the default of ``activation_quantizer:``, a key of `SLOT_QUANTIZERS`.
        noise_size: the default of ``noise_size:``, a key of `quantization.NOISE_SIZES`.
        bias: whether the convolutions of the slots have biases.
        image_slots: kinds of slots whose input is the image itself, which is quantized with a fixed step: 1/255 at 8
            bits.
        identity_slots: kinds of slots whose weights start near the identity.
    """

    name: str
    skeleton: Callable[..., nn.Module]
    candidates: Mapping[str, Candidates]
    num_feat: int
    num_block: int
    norms: Tuple[str, ...] = NORMS
    activation_quantizer: str = "hwgq"
    noise_size: str = "range"
    bias: bool = False
    image_slots: Tuple[str, ...] = ()
    identity_slots: Tuple[str, ...] = ()

    def style(self, slot: Slot, activation_quantizer: str) -> ConvStyle:
        """The style of the convolutions of a slot."""
        return ConvStyle(
            self.bias,
            SLOT_QUANTIZERS[activation_quantizer],
            reads_image=slot.kind in self.image_slots,
            identity=slot.kind in self.identity_slots,
        )

    def build(self, fill: Fill, scale: int, num_feat: int, num_block: int, norm: str) -> nn.Module:
        """The skeleton with its slots filled.

        Raises:
            OptionError: a value is not possible.
        """
        check_choice("scale", scale, SCALES)
        check_choice("norm", norm, self.norms)
        check_positive("num_feat", num_feat, MOST_CHANNELS)
        check_positive("num_block", num_block, MOST_BLOCKS)
        return self.skeleton(fill, scale=scale, num_feat=num_feat, num_block=num_block, norm=norm)

    def slots(self, scale: int, num_feat: int, num_block: int) -> Dict[str, Slot]:
        """The slots by name, in the order of the wiring. Nothing is allocated."""
        found: Dict[str, Slot] = {}

        def note(name: str, in_channels: int, out_channels: int) -> nn.Module:
            slot = Slot(name, in_channels, out_channels)
            if found.setdefault(name, slot) != slot:
                raise OptionError(f"search space {self.name}: slot {name} has different channels in different places")
            return nn.Identity()

        with torch.device("meta"):
            self.build(note, scale, num_feat, num_block, norm=self.norms[-1])
        return found

    def candidates_for(self, candidates: Union[str, Candidates], slots: Mapping[str, Slot]) -> Dict[str, List[str]]:
        """The candidate operations of each kind of slot that ``slots`` has.

        Args:
            candidates: the name of a list, or operations by kind; kinds that are not named keep their default.
            slots: the slots of the skeleton.

        Raises:
            OptionError: an unknown list, kind or operation, or an empty list.
        """
        if isinstance(candidates, str):
            if candidates not in self.candidates:
                raise OptionError(unknown("candidates", candidates, self.candidates, where=f"search space {self.name}"))
            table = dict(self.candidates[candidates])
        elif isinstance(candidates, Mapping):
            table = {**self.candidates["default"], **candidates}
        else:
            raise OptionError(f"candidates: {candidates!r} is neither the name of a list nor a mapping by kind of slot")
        kinds = {slot.kind for slot in slots.values()}
        for kind in table:
            if kind not in kinds:
                raise OptionError(unknown("kind of slot", kind, kinds, where="candidates"))
        for kind, names in table.items():
            _check_list(kind, names)
        return {kind: list(names) for kind, names in table.items()}


def _check_list(kind: str, names: Sequence[str]) -> None:
    if not isinstance(names, (list, tuple)) or not names:
        raise OptionError(f"candidates: {kind} must be a list of operations, not {names!r}")
    for name in names:
        check_operation(name, where=f"candidates: {kind}")
    if len(set(names)) != len(names):
        raise OptionError(f"candidates: {kind} names an operation twice")


def check_choice(key: str, value: object, allowed: Sequence) -> None:
    """Raise an OptionError that names ``key`` unless ``value`` is one of ``allowed``."""
    if not any(value == choice and type(value) is type(choice) for choice in allowed):
        raise OptionError(unknown(key, value, map(str, allowed)))


def check_positive(key: str, value: object, most: Optional[int] = None) -> None:
    """Raise an OptionError that names ``key`` unless ``value`` is a whole number above 0, and of at most ``most``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise OptionError(f"{key}: {shown(value)} is not a whole number above 0")
    if most is not None and value > most:
        raise OptionError(f"{key}: {shown(value)} is too large. Allowed: at most {most}")


def check_fits(operation: str, slot: Slot, num_feat: int) -> None:
    """Raise an OptionError that names the slot unless the operation can stand in it."""
    try:
        convolutions(operation, slot.in_channels, slot.out_channels, num_feat)
    except OptionError as error:
        raise OptionError(f"slot {slot.name} ({slot.in_channels} -> {slot.out_channels} channels): {error}") from None


_SPACES: Dict[str, SearchSpace] = {}


def register_search_space(space: SearchSpace) -> SearchSpace:
    """Make a search space known by its name; returns it.

    Raises:
        OptionError: another space has this name, or it has no default candidates.
    """
    if _SPACES.get(space.name, space) is not space:
        raise OptionError(f"a search space named {space.name!r} is registered already")
    if "default" not in space.candidates:
        raise OptionError(f"search space {space.name!r}: candidates must have a list named 'default'")
    _SPACES[space.name] = space
    return space


def get_search_space(name: object) -> SearchSpace:
    """The registered space of this name.

    Raises:
        OptionError: there is none.
    """
    if not isinstance(name, str) or name not in _SPACES:
        raise OptionError(unknown("search space", name, _SPACES))
    return _SPACES[name]
