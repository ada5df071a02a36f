"""Trained and exported networks, ready to run in PyTorch, OpenVINO, ONNX Runtime or LiteRT, with one interface."""

from pathlib import Path
from typing import Optional, Tuple, Union

import numpy as np

from quantnas_sr.deploy.litert import tflite_format
from quantnas_sr.deploy.network import Network
from quantnas_sr.deploy.onnx_format import OUTPUT, Facts, is_sealed
from quantnas_sr.deploy.packages import ALL_RUNTIMES, LITERT, RUNTIMES_OF, installed_runtimes, usable_runtimes
from quantnas_sr.deploy.sessions import Session, open_session
from quantnas_sr.deploy.trial import try_in_another_process
from quantnas_sr.errors import DataError, OptionError
from quantnas_sr.images.tiles import run_in_tiles, smallest_tile
from quantnas_sr.images.units import converted
from quantnas_sr.padding import run_padded
from quantnas_sr.values.arguments import check_word, parse_positive

CHECKPOINTS = (".pth", ".pt")
#: Suffixes of all files that `open_network` takes.
NETWORKS = (*RUNTIMES_OF, *CHECKPOINTS)


def open_network(path: Union[str, Path], runtime: str = "auto", threads: Optional[int] = None) -> Network:
    """Open an ``.onnx`` or ``.tflite`` that ``quantnas export`` wrote, or the ``.pth`` of a trained network.

    Args:
        path: the file.
        runtime: ``openvino`` or ``onnxruntime`` for an ``.onnx``, ``litert`` or ``litert_builtin`` (without XNNPACK)
            for a ``.tflite``, ``torch`` for a ``.pth`` (on a GPU if there is one); ``auto`` takes one that runs the
            file, and prefers OpenVINO to ONNX Runtime.
        threads: CPU threads; by default the runtime's.

    Raises:
        OptionError: the runtime is unknown or does not run this kind of file; ``threads`` is not positive.
        MissingExtraError: the runtime is not installed, too old, or cannot be imported.
        DataError, GenotypeError: the file cannot be read, or was not written by this package.
    """
    path = Path(path)
    check_word(runtime, ("auto", *ALL_RUNTIMES, "torch"), "runtime", "")
    threads = None if threads is None else parse_positive(threads, "threads")
    if not path.is_file():
        raise DataError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
    suffix = path.suffix.lower()
    if suffix in RUNTIMES_OF:
        return _open_exported(path, runtime, threads)
    if suffix not in CHECKPOINTS:
        raise DataError(
            f"{path}: not a network. Allowed: an .onnx or a .tflite of `quantnas export`, or the .pth of a training"
        )
    if runtime not in ("auto", "torch"):
        raise OptionError(f"{path}: {runtime} does not run a .pth. Allowed: torch; or export it first")
    # Imported here, because an .onnx needs no torch, whose import takes longer than upscaling an image.
    from quantnas_sr.deploy.torch_network import TorchNetwork

    return TorchNetwork(path, threads)


def _open_exported(path: Path, runtime: str, threads: Optional[int]) -> Network:
    suffix = path.suffix.lower()
    what, allowed = ("an" if suffix == ".onnx" else "a") + f" {suffix}", RUNTIMES_OF[suffix]
    if runtime not in ("auto", *allowed):
        raise OptionError(f"{path}: {runtime} does not run {what}. Allowed: {', '.join(allowed)}")
    if runtime == "auto" and suffix == ".onnx":
        installed = installed_runtimes()
        runtime = usable_runtimes(f"{path}: {what}", most=1)[0][0] if installed else "onnxruntime"
    elif runtime == "auto":
        runtime = LITERT
    sealed = is_sealed if suffix == ".onnx" else tflite_format.is_sealed
    if not sealed(_read(path)):
        try_in_another_process(path, runtime)
    return ExportedNetwork(path, open_session(runtime, path, threads))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


class ExportedNetwork(Network):
    """A file of ``quantnas export``; scale, halo and a fixed size are read from its metadata.

    Raises:
        DataError: another program wrote the file.
    """

    def __init__(self, path: Path, session: Session) -> None:
        self._path, self._session, self.pixels = path, session, session.pixels
        try:
            self.scale, self.halo, self.multiple, self.size = Facts.of(session.metadata)
        except (KeyError, ValueError):
            raise DataError(f"{path}: was not written by quantnas export") from None

    def __call__(self, x: np.ndarray) -> np.ndarray:
        given = converted(x, self.pixels)
        if self.size is None:
            return converted(run_padded(self._run, given, self.multiple, _pad), x.dtype)
        return converted(np.concatenate([self._in_tiles(one[None], self.size) for one in given]), x.dtype)

    def _run(self, x: np.ndarray) -> np.ndarray:
        return self._session(x)[OUTPUT]

    def _in_tiles(self, x: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
        """One image in tiles of a size, of which none is smaller; an image that is smaller is padded."""
        sides = x.shape[2:]
        if sides != size and (self.halo is None or any(tile < smallest_tile(self.halo) for tile in size)):
            need = "the whole image" if self.halo is None else f"{self.halo} pixels around it"
            where = f"{self._path}: takes images of {size[1]}x{size[0]} pixels only"
            raise DataError(f"{where}, and this one has {sides[1]}x{sides[0]}: a pixel of the result depends on {need}")
        down, right = (max(0, tile - side) for tile, side in zip(size, sides))
        padded = _pad(x, down, right, down < sides[0] and right < sides[1]) if down or right else x
        large = run_in_tiles(self._run, padded, size, self.halo or 0, self.scale)
        return large[..., : self.scale * sides[0], : self.scale * sides[1]]

    def free_memory(self) -> None:
        """Give back what the runtime keeps from tile to tile."""
        self._session.free_memory()


def _pad(x: np.ndarray, down: int, right: int, mirrors: bool) -> np.ndarray:
    return np.pad(x, ((0, 0), (0, 0), (0, down), (0, right)), "reflect" if mirrors else "edge")
