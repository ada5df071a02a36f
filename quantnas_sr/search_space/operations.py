"""Candidate operations by name (the paper's appendix J). A new family of operations is one more row of ``_FAMILIES``.

A name defines a sequence of convolutions. The caller passes the function that makes each of them: quantized to fixed
bits, at several bit widths, or with noise.
"""

import re
from functools import cache
from typing import Callable, List, NamedTuple, Optional, Tuple

from torch import Tensor, nn

from quantnas_sr.errors import OptionError, nearest
from quantnas_sr.search_space.conv_spec import PAPER_STYLE, ConvSpec, ConvStyle, StyledConv
from quantnas_sr.values.kinds import shown

ConvFactory = Callable[[StyledConv], nn.Module]


class _Family(NamedTuple):
    form: str
    pattern: "re.Pattern[str]"
    convolutions: Callable[["re.Match[str]", int, int, int], List[ConvSpec]]


def _square(match: "re.Match[str]") -> Tuple[int, int]:
    return int(match["k"]), int(match["k"])


def _simple(match, c_in: int, c: int, c_out: int) -> List[ConvSpec]:
    groups = c_in if match["g"] == "full" else int(match["g"] or 1)
    return [ConvSpec(c_in, c_out, _square(match), groups, int(match["d"] or 1))]


def _factorized(match, c_in: int, c: int, c_out: int) -> List[ConvSpec]:
    k = int(match["k"])
    return [ConvSpec(c_in, c, (k, 1)), ConvSpec(c, c_out, (1, k))]


def _growth(match, c_in: int, c: int, c_out: int) -> List[ConvSpec]:
    wide = int(match["n"]) * c
    return [ConvSpec(c_in, wide, _square(match)), ConvSpec(wide, c_out, _square(match))]


def _decenc(match, c_in: int, c: int, c_out: int) -> List[ConvSpec]:
    k, groups = _square(match), int(match["g"] or 1)
    narrow = _divided(c, int(match["r"]), match.string)
    return [ConvSpec(a, b, k, groups) for a, b in ((c_in, narrow), (narrow, narrow), (narrow, c_out))]


def _depthwise_separable(match, c_in: int, c: int, c_out: int) -> List[ConvSpec]:
    return [ConvSpec(c_in, c_in, _square(match), groups=c_in), ConvSpec(c_in, c_out, (1, 1))]


def _increase(match, c_in: int, c: int, c_out: int) -> List[ConvSpec]:
    wide = c_in * int(match["r"])
    return [ConvSpec(c_in, wide, _square(match)), ConvSpec(wide, c_out, (1, 1))]


def _decrease(match, c_in: int, c: int, c_out: int) -> List[ConvSpec]:
    narrow = _divided(c_in, int(match["r"]), match.string)
    return [ConvSpec(c_in, narrow, _square(match)), ConvSpec(narrow, c_out, (1, 1))]


def _skip_connect(match, c_in: int, c: int, c_out: int) -> List[ConvSpec]:
    if c_in != c_out:
        raise OptionError(f"operation skip_connect cannot turn {c_in} channels into {c_out}")
    return []


def _divided(channels: int, divisor: int, name: str) -> int:
    if divisor < 1 or channels % divisor:
        raise OptionError(f"operation {name}: {channels} channels cannot be divided by {divisor}")
    return channels // divisor


#: Numbers in names; larger ones are in no operation that could be built.
_N = r"[1-9]\d{0,2}"
_K = rf"(?P<k>{_N})x(?P=k)"
_FAMILIES = (
    _Family(
        "simple_KxK[_grouped_G|_grouped_full][_dD]",
        re.compile(rf"simple_{_K}(_grouped_(?P<g>full|{_N}))?(_d(?P<d>{_N}))?"),
        _simple,
    ),
    _Family("conv_Kx1_1xK", re.compile(rf"conv_(?P<k>{_N})x1_1x(?P=k)"), _factorized),
    _Family("growthN_KxK", re.compile(rf"growth(?P<n>{_N})_{_K}"), _growth),
    _Family("decenc_KxK_R[_gG]", re.compile(rf"decenc_{_K}_(?P<r>{_N})(_g(?P<g>{_N}))?"), _decenc),
    _Family("DWS_KxK", re.compile(rf"DWS_{_K}"), _depthwise_separable),
    _Family("KxK_increase_R", re.compile(rf"{_K}_increase_(?P<r>{_N})"), _increase),
    _Family("KxK_decrease_R", re.compile(rf"{_K}_decrease_(?P<r>{_N})"), _decrease),
    _Family("skip_connect", re.compile("skip_connect"), _skip_connect),
    _Family("zero", re.compile("zero"), lambda match, c_in, c, c_out: []),
)

#: Names that an error message may suggest for a misspelt one; the parser accepts many more.
COMMON_OPERATIONS = (
    *(f"simple_{k}x{k}{tail}" for k in (1, 3, 5) for tail in ("", "_grouped_2", "_grouped_3", "_grouped_full", "_d2")),
    *(f"{family}_{k}x{k}" for family in ("growth1", "growth2", "DWS") for k in (1, 3, 5)),
    *(f"{k}x{k}_{direction}_2" for direction in ("increase", "decrease") for k in (1, 3, 5)),
    *("conv_3x1_1x3", "conv_5x1_1x5", "decenc_3x3_2", "decenc_5x5_2", "decenc_3x3_2_g3", "skip_connect", "zero"),
)


@cache
def _parse(name: str) -> Tuple[Optional[_Family], Optional["re.Match[str]"]]:
    for family in _FAMILIES:
        match = family.pattern.fullmatch(name)
        if match:
            return family, match
    return None, None


def check_operation(name: object, where: str = "") -> str:
    """Return ``name`` if it names an operation.

    Raises:
        OptionError: it does not, or its kernel is even (an even kernel cannot keep the size of the image).
    """
    prefix = f"{where}: " if where else ""
    family, match = _parse(str(name))
    if family is None:
        guess = nearest(name, COMMON_OPERATIONS)
        hint = f", did you mean {guess!r}?" if guess else "."
        forms = ", ".join(family.form for family in _FAMILIES)
        raise OptionError(f"{prefix}unknown operation {shown(str(name))}{hint} Forms: {forms}")
    if "k" in match.re.groupindex and int(match["k"]) % 2 == 0:
        raise OptionError(f"{prefix}operation {name!r} has an even kernel. Allowed: odd kernels")
    return str(name)


def convolutions(name: str, in_channels: int, out_channels: int, num_feat: int) -> List[ConvSpec]:
    """The convolutions of an operation, first to last; empty for ``skip_connect`` and ``zero``.

    Args:
        name: such as ``conv_5x1_1x5``.
        in_channels, out_channels: of the slot.
        num_feat: C, the number of channels inside the network, for operations with an inner width.

    Raises:
        OptionError: unknown name, or channels that its groups or divisor do not divide.

    >>> [tuple(spec) for spec in convolutions("conv_3x1_1x3", 36, 48, 36)]
    [(36, 36, (3, 1), 1, 1), (36, 48, (1, 3), 1, 1)]
    """
    family, match = _parse(check_operation(name))
    specs = family.convolutions(match, in_channels, num_feat, out_channels)
    for spec in specs:
        for channels in (spec.in_channels, spec.out_channels):
            if channels % spec.groups:
                raise OptionError(f"operation {name}: {channels} channels are not divisible by {spec.groups} groups")
    return specs


class Operation(nn.Sequential):
    """A sequence of convolutions. Arguments other than the image (such as bit shares) are passed to each of them."""

    def forward(self, x: Tensor, *args: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, H, W)."""
        for convolution in self:
            x = convolution(x, *args)
        return x


class Zero(nn.Module):
    """The operation that removes its edge: zeros of the slot's output shape."""

    def __init__(self, out_channels: int) -> None:
        super().__init__()
        self.out_channels = out_channels

    def forward(self, x: Tensor, *args: Tensor) -> Tensor:
        """(N, C_in, H, W) -> zeros (N, C_out, H, W)."""
        return x.new_zeros(x.shape[0], self.out_channels, *x.shape[2:])


def build_operation(
    name: str,
    in_channels: int,
    out_channels: int,
    num_feat: int,
    conv: ConvFactory,
    style: ConvStyle = PAPER_STYLE,
) -> nn.Module:
    """The named operation; ``conv`` makes its convolutions. Other arguments and errors as in `convolutions`."""
    specs = style.applied(convolutions(name, in_channels, out_channels, num_feat))
    return Zero(out_channels) if name == "zero" else Operation(*(conv(spec) for spec in specs))
