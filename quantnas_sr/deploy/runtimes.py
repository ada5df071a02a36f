"""Trained and exported networks, ready to run in PyTorch, OpenVINO, ONNX Runtime or LiteRT, with one interface."""

from pathlib import Path
from typing import Optional, Union

from quantnas_sr.deploy.exported_network import ExportedNetwork
from quantnas_sr.deploy.litert import tflite_format
from quantnas_sr.deploy.network import Network
from quantnas_sr.deploy.onnx.onnx_format import is_sealed
from quantnas_sr.deploy.opening import open_session
from quantnas_sr.deploy.packages import ALL_RUNTIMES, LITERT, RUNTIMES_OF, installed_runtimes, usable_runtimes
from quantnas_sr.deploy.trial import try_in_another_process
from quantnas_sr.errors import DataError, OptionError
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
