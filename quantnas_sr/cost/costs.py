"""Costs that a search can penalise or limit: registered classes, by the name in ``cost:`` of the options."""

from typing import Any, Mapping, Optional, Tuple, Union

from basicsr.utils.registry import Registry

from quantnas_sr.cost.count import LayerCost
from quantnas_sr.errors import OptionError, unknown
from quantnas_sr.values.signatures import check_names


class _LowerCaseRegistry(Registry):
    """Knows the class `BitOps` as ``bitops``."""

    def _do_register(self, name: str, *arguments: Any) -> None:
        super()._do_register(name.lower(), *arguments)


COST_REGISTRY = _LowerCaseRegistry("cost")


class Cost:
    """A function from a layer to its cost. In ``cost: {type: NAME, ...}`` the other keys are arguments of the class."""

    #: The unit of the cost.
    unit: str = ""
    #: The unit that people read and write, such as in a budget, and how many of `unit` it is; None if it is the same.
    shown: Optional[Tuple[str, float]] = None

    @property
    def name(self) -> str:
        """The name that the class is registered under."""
        return type(self).__name__.lower()

    def of(self, layer: LayerCost) -> float:
        """The cost of one layer at its bit width, at least 0. The cost of a network is the sum over its layers."""
        raise NotImplementedError


@COST_REGISTRY.register()
class BitOps(Cost):
    """MACs * b_weight * b_activation (eq. 8)."""

    unit = "BitOps"
    shown = "GBitOps", 1e9

    def of(self, layer: LayerCost) -> float:
        return layer.bitops


@COST_REGISTRY.register()
class MACs(Cost):
    """Multiply-adds, whatever their bit width."""

    unit = "MACs"
    shown = "GMACs", 1e9

    def of(self, layer: LayerCost) -> float:
        return layer.macs


@COST_REGISTRY.register()
class Params(Cost):
    """Number of weights of convolutions, whatever their bit width, without quantization steps and slopes of PReLU."""

    unit = "weights"

    def of(self, layer: LayerCost) -> float:
        return layer.weights


def build_cost(cost: Union[str, Mapping[str, Any], Cost]) -> Cost:
    """The cost that ``cost:`` of the options names.

    Args:
        cost: a registered name, or ``{type: name, ...}`` with the arguments of its class.

    Raises:
        OptionError: one line, if there is no such cost, or it has no such argument.

    >>> build_cost({"type": "bitops"}).of(LayerCost("conv", macs=10, bits=4, weights=9))
    160
    """
    if isinstance(cost, Cost):
        return cost
    arguments = dict(cost) if isinstance(cost, Mapping) else {"type": cost}
    if "type" not in arguments:
        raise OptionError("cost: the key 'type' is missing")
    name = arguments.pop("type")
    if not isinstance(name, str) or name not in COST_REGISTRY:
        raise OptionError(unknown("cost", name, COST_REGISTRY.keys()))
    cls = COST_REGISTRY.get(name)
    check_names(cls, arguments, where="cost")
    return cls(**arguments)
