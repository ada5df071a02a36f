"""What the export, its check and the runtimes agree on: the names in an exported file, its metadata, its digest."""

import hashlib
import re
from typing import Mapping, NamedTuple, Optional, Tuple

#: Input (N, 3, H, W) and output (N, 3, s*H, s*W) of the network, RGB: float32 in 0..1, or bytes, see `Facts`.
INPUT, OUTPUT = "lq", "sr"
#: Prefix of the keys of the file's metadata.
METADATA_PREFIX = "quantnas_sr."
#: Largest height and width of a file of one size, to which smaller images are padded.
LARGEST_SIDE = 1 << 12
#: Smallest and largest numbers in the metadata.
_BOUNDS = {"scale": (1, 64), "halo": (0, 1 << 16), "multiple": (1, 1 << 12), "size": (1, LARGEST_SIDE)}
#: The last entry of the metadata, as protobuf writes it: field 14 of the model, the key, and 64 digits of a digest.
_DIGEST_KEY = f"{METADATA_PREFIX}digest".encode("ascii")
_BEFORE_DIGEST = b"\x72\x56\x0a" + bytes([len(_DIGEST_KEY)]) + _DIGEST_KEY + b"\x12\x40"
_DIGITS = 64


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


def sealed(model: bytes) -> bytes:
    """A serialized model with a digest of itself as a last entry of its metadata.

    >>> is_sealed(sealed(b"")), is_sealed(b""), is_sealed(sealed(b"x").replace(b"x", b"y"))
    (True, False, False)
    """
    return model + _BEFORE_DIGEST + hashlib.sha256(model).hexdigest().encode("ascii")


def is_sealed(data: bytes) -> bool:
    """Whether the content of a file is as `sealed` made it. That shows damage; it does not show who wrote it."""
    return sealed(data[: -len(_BEFORE_DIGEST) - _DIGITS]) == data


class Facts(NamedTuple):
    """What the metadata of an exported file say about its network; see `network.Network`.

    Attributes:
        scale, halo: of the network; no halo if the output depends on the whole image.
        multiple: of which the sides of its images are.
        size: height and width of its images; None if they are free.
    """

    scale: int
    halo: Optional[int]
    multiple: int
    size: Optional[Tuple[int, int]] = None

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> "Facts":
        """Read the metadata.

        >>> Facts.of({"quantnas_sr.scale": "4", "quantnas_sr.halo": ""})
        Facts(scale=4, halo=None, multiple=1, size=None)

        Raises:
            KeyError, ValueError: they are not of an exported file.
        """
        scale, halo = (metadata[METADATA_PREFIX + key] for key in ("scale", "halo"))
        multiple = metadata.get(METADATA_PREFIX + "multiple", "1")  # which older versions do not write
        size = metadata.get(METADATA_PREFIX + "size")  # width and height, in files of a fixed size alone
        reach = _number("halo", halo) if halo else None
        return cls(_number("scale", scale), reach, _number("multiple", multiple), _size(size) if size else None)


def _size(text: str) -> Tuple[int, int]:
    width, _, height = text.partition("x")
    return _number("size", height), _number("size", width)


def _number(key: str, text: str) -> int:
    least, most = _BOUNDS[key]
    if not re.fullmatch(r"\d{1,6}", text, re.ASCII) or not least <= int(text) <= most:
        raise ValueError(key)
    return int(text)
