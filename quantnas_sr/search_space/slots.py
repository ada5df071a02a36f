"""Slots: the named places of a skeleton that a search fills."""

from typing import Callable, NamedTuple

from torch import nn


class Slot(NamedTuple):
    """A place for one operation. Slots of the same name share their alphas and so their operation, but not weights.

    The name is ``kind``, or ``kind_`` and numbers: ``skip``, ``body_0``, ``body_3_1``. The kind names the list of
    candidates.
    """

    name: str
    in_channels: int
    out_channels: int

    @property
    def kind(self) -> str:
        """The part of the name before its first underscore.

        >>> Slot("body_3_1", 48, 48).kind
        'body'
        """
        return self.name.partition("_")[0]


#: The function by which a skeleton fills its slots: name, input channels, output channels -> the module of the slot.
Fill = Callable[[str, int, int], nn.Module]
