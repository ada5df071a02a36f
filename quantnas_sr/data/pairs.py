"""Names and sizes of GT and LQ pairs, for folders and LMDBs alike."""

from typing import Iterable, Tuple

from quantnas_sr.errors import DataError, printable

ROOTS = ("dataroot_gt", "dataroot_lq")
NAMED_IN_ERRORS = 3
#: Characters of a name that an error shows.
LONGEST_IN_ERRORS = 100

#: (height, width).
Size = Tuple[int, int]
#: The name of a pair, and the sizes of GT and LQ.
SizedPair = Tuple[str, Size, Size]


def shortened(text: str) -> str:
    """A name or a line for an error, without its end where it is too long to be read."""
    text = printable(text)
    return text if len(text) <= LONGEST_IN_ERRORS else f"{text[:LONGEST_IN_ERRORS]}..."


def some(names: Iterable[str]) -> str:
    """The first few of some names, for an error."""
    ordered = [shortened(name) for name in sorted(names)]
    return ", ".join(ordered[:NAMED_IN_ERRORS]) + (", ..." if len(ordered) > NAMED_IN_ERRORS else "")


def check_same(gt: Iterable[str], lq: Iterable[str], where: str, hint: str = "") -> None:
    """Raise DataError unless ``gt`` (the names that LQ should have) equals ``lq`` (the names that it has)."""
    for key, lacking in (("dataroot_lq", set(gt) - set(lq)), ("dataroot_gt", set(lq) - set(gt))):
        if lacking:
            other = "dataroot_gt" if key == "dataroot_lq" else "dataroot_lq"
            raise DataError(f"{where}: {key} lacks {len(lacking)} images that {other} has: {some(lacking)}{hint}")
