"""Networks that come with the package: which there are, what is known of each, and where their files are.

Each has a folder of its name, with ``network.onnx`` (exported, in integers), ``network_uint8.onnx`` (the same from
bytes to bytes), ``network.pth`` (the checkpoint), ``genotype.yml``, ``training.log`` (its key lines) and ``card.yml``.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, NamedTuple, Optional

from quantnas_sr.deploy.packages import installed_runtimes
from quantnas_sr.errors import OptionError, unknown
from quantnas_sr.values.plain_yaml import read_yaml

if TYPE_CHECKING:
    from quantnas_sr.deploy.network import Network

#: The scale of the network that is used where nothing else is asked for.
DEFAULT_SCALE = 2
_FOLDER = Path(__file__).parent


class Quality(NamedTuple):
    """Of the exported file on a set of images: PSNR in dB and SSIM of luma, borders of ``scale`` pixels left out."""

    psnr: float
    ssim: float
    bicubic_psnr: float
    bicubic_ssim: float


@dataclass(frozen=True)
class Card:
    """What is known of a network.

    Attributes:
        name: of the network, and of its folder.
        scale: by how much it enlarges.
        gbitops: BitOps in 10^9 for an image of 32x32.
        quality: by the name of a set of images.
        facts: what else there is to know, in words, by topic.
    """

    name: str
    scale: int
    gbitops: float
    quality: Mapping[str, Quality]
    facts: Mapping[str, str]


def names() -> List[str]:
    """All networks, by scale and then by cost."""
    return [card.name for card in sorted(_cards().values(), key=lambda card: (card.scale, card.gbitops))]


def card(name: str) -> Card:
    """The card of a network.

    Raises:
        OptionError: there is no such network.
    """
    if name not in _cards():
        raise OptionError(unknown("network", name, _cards()))
    return _cards()[name]


def default(scale: Optional[int] = None) -> str:
    """The name of the best network of a scale: the largest one.

    Raises:
        OptionError: there is none of this scale.
    """
    scale = DEFAULT_SCALE if scale is None else scale
    fitting = [name for name in names() if card(name).scale == scale]
    if not fitting:
        scales = sorted({one.scale for one in _cards().values()})
        raise OptionError(f"scale: there is no network for {scale}. Allowed: {', '.join(map(str, scales))}")
    return fitting[-1]


def file_of(name: str, file: str = "") -> Path:
    """A file of a network.

    Args:
        name: of `names`.
        file: its name; by default that of the network itself: ``network.onnx``, or ``network.pth`` where no runtime
            is installed that runs the other.

    Raises:
        OptionError: there is no such network.
    """
    file = file or ("network.onnx" if installed_runtimes() else "network.pth")
    return _FOLDER / card(name).name / file


def chosen(name: Optional[str] = None, scale: Optional[int] = None) -> Path:
    """The file of the network of a name, or of the best one of a scale.

    Raises:
        OptionError: there is none, or it is of another scale.
    """
    if name and scale and card(name).scale != scale:
        raise OptionError(f"scale: {scale}, but {name} enlarges by {card(name).scale}")
    return file_of(name or default(scale))


def opened(
    name: Optional[str] = None, scale: Optional[int] = None, runtime: str = "auto", threads: Optional[int] = None
) -> "Network":
    """The network of a name, or the best one of a scale, ready to run: with bytes, where pixels are bytes.

    Args:
        name, scale: as of `chosen`.
        runtime, threads: as of `open_network`.

    Raises:
        OptionError, MissingExtraError: as of `chosen` and `open_network`.
    """
    # Imported here, because a list of networks needs no runtime.
    from quantnas_sr.deploy.runtimes import open_network
    from quantnas_sr.deploy.two_files import TwoFiles

    path = chosen(name, scale)
    of_bytes = path.with_stem(f"{path.stem}_uint8")
    if not of_bytes.is_file():
        return open_network(path, runtime, threads)
    return TwoFiles(open_network(of_bytes, runtime, threads), lambda: open_network(path, runtime, threads))


@cache
def _cards() -> Dict[str, Card]:
    found = {}
    for path in sorted(_FOLDER.glob("*/card.yml")):
        data: Dict[str, Any] = read_yaml(path)
        quality = {images: Quality(**numbers) for images, numbers in data.pop("quality").items()}
        found[data["name"]] = Card(**{**data, "quality": quality})
    return found
