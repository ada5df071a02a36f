"""The saved state of an optimizer, made to fit the optimizer of a resumed run whose options may be others."""

import inspect
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Set

import torch
from torch import nn

State = Dict[str, Any]
#: The names of the parameters of an optimizer, by group.
Names = List[List[str]]

#: What the schedule sets in the parameter groups of an optimizer, and the parameters themselves.
_SCHEDULED = ("params", "lr", "initial_lr")


def parameter_names(optimizers: Sequence[torch.optim.Optimizer], network: nn.Module) -> List[Names]:
    """The names of the parameters of every optimizer; empty for parameters of something else than the network."""
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    return [[[names.get(id(p), "") for p in group["params"]] for group in o.param_groups] for o in optimizers]


class OptimizerState:
    """The saved state of one optimizer, made to fit the optimizer of the new options.

    Args:
        optimizer: of the new options, without a step yet.
        names: of its parameters, by group.
        saved: its ``state_dict`` in the training state.
        saved_type, saved_names: class and ``names`` of the saved optimizer; None in a state that does not have them.
        where: the key of its options, for messages.
        scheduled: whether a scheduler sets its rates.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        names: Names,
        saved: State,
        saved_type: Optional[str],
        saved_names: Optional[Names],
        where: str,
        scheduled: bool,
    ) -> None:
        self.optimizer, self.names, self.where = optimizer, names, where
        self.saved, self.saved_type, self.saved_names = saved, saved_type, saved_names
        self.scheduled = scheduled
        self.fresh = optimizer.state_dict()
        self.same_groups = _sizes(saved) == _sizes(self.fresh) and saved_names in (None, names)
        self.differences: Set[str] = set()

    def fit(self, say: Callable[[str], None]) -> State:
        """The state to load; ``say`` is told in one line where the moments start anew."""
        kind = type(self.optimizer).__name__
        if self.saved_type not in (None, kind):
            return self._anew(f"its type was {self.saved_type} and is {kind}", say)
        if self.saved_type is None and self._looks_like_another_type():
            return self._anew("its type has changed", say)
        if self.same_groups:
            groups, entries = self._merged_groups(), self.saved["state"]
        elif self.saved_names is not None:
            groups, entries = self.fresh["param_groups"], self._entries_by_name()
        else:
            return self._anew("its parameters are grouped in another way", say)
        changed = self.differences or not self.same_groups
        if changed and not _has_needed_entries(self.optimizer, entries.values()):
            return self._anew("it needs moments that the saved state does not have", say)
        return {"state": entries, "param_groups": groups} if changed else self.saved

    def _looks_like_another_type(self) -> bool:
        """Whether each of the two has hyper-parameters that the other has not (another torch only adds some)."""
        saved, own = (set(state["param_groups"][0]) for state in (self.saved, self.fresh))
        return bool(saved - own and own - saved)

    def _anew(self, reason: str, say: Callable[[str], None]) -> State:
        self.differences.add("type")
        say(f"train.{self.where}: {reason}: its moments start anew.")
        return self.fresh

    def _merged_groups(self) -> List[State]:
        """The saved groups with the hyper-parameters of the options; rates too where no scheduler sets them."""
        kept = _SCHEDULED if self.scheduled else ("params",)
        merged = []
        for new, old in zip(self.fresh["param_groups"], self.saved["param_groups"]):
            own = {key: value for key, value in new.items() if key not in kept and differ(value, old.get(key))}
            self.differences.update(key for key in own if key in old)
            merged.append({**old, **own})
        return merged if self.differences else self.saved["param_groups"]

    def _entries_by_name(self) -> Dict[int, State]:
        self.differences.add("parameter groups")
        names = [name for group in self.saved_names or () for name in group]
        order = [index for group in self.saved["param_groups"] for index in group["params"]]
        by_name = {name: self.saved["state"][i] for name, i in zip(names, order) if i in self.saved["state"]}
        new = [name for group in self.names for name in group]
        return {i: by_name[name] for i, name in enumerate(new) if name in by_name}

    def keeps_rates(self) -> bool:
        """Whether the saved rates are those of the options, as far as this can be seen in the groups."""
        if not self.same_groups or "type" in self.differences:
            return False
        pairs = zip(self.fresh["param_groups"], self.saved["param_groups"])
        return all(new.get("initial_lr") == old.get("initial_lr") for new, old in pairs)


def _sizes(state: State) -> List[int]:
    return [len(group["params"]) for group in state["param_groups"]]


def listed(value: Any) -> Any:
    """A tuple as a list, which options have in its place."""
    return list(value) if isinstance(value, (list, tuple)) else value


def differ(one: Any, other: Any) -> bool:
    """Whether two values of an option differ."""
    return bool(listed(one) != listed(other))


def _has_needed_entries(optimizer: torch.optim.Optimizer, entries: Iterable[State]) -> bool:
    """Whether the moments hold all that the optimizer keeps for a parameter (``amsgrad`` wants one more)."""
    accepted = inspect.signature(type(optimizer)).parameters
    defaults = {key: value for key, value in optimizer.defaults.items() if key in accepted}
    parameter = torch.nn.Parameter(torch.zeros(2, 2))
    parameter.grad = torch.zeros_like(parameter)
    try:
        probe = type(optimizer)([parameter], **defaults)
        probe.step()
    except (RuntimeError, TypeError, ValueError):
        return True
    return all(set(probe.state[parameter]) <= set(entry) for entry in entries)
