"""The names in an exported file that the export, its check and the runtimes agree on."""

from typing import NamedTuple, Optional

#: Input (N, 3, H, W) and output (N, 3, s*H, s*W) of the network, RGB in 0..1, float32.
INPUT, OUTPUT = "lq", "sr"
#: Prefix of the keys of the file's metadata.
METADATA_PREFIX = "quantnas_sr."


class Call(NamedTuple):
    """One call of a layer that rounds; the node that computes it in the file is named after it.

    A layer that a network calls several times, as recurrent networks do, has several nodes.

    Attributes:
        layer: name of the module in the network.
        number: 0 for the first call.
    """

    layer: str
    number: int

    @property
    def node_name(self) -> str:
        """Such as ``body.0#1`` for the second call of ``body.0``."""
        return f"{self.layer}#{self.number}"

    @classmethod
    def of(cls, node_name: str) -> Optional["Call"]:
        """The call that a node is named after; None for a node with another name.

        >>> Call.of("body.0#1")
        Call(layer='body.0', number=1)
        """
        layer, mark, number = node_name.rpartition("#")
        return cls(layer, int(number)) if mark and number.isdecimal() else None
