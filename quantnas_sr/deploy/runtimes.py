"""One face for a network in OpenVINO, ONNX Runtime or PyTorch."""

import importlib.util
from abc import ABC, abstractmethod
from collections import OrderedDict
from functools import cached_property
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Optional, Tuple, Union

import numpy as np
import torch

from quantnas_sr.checkpoints import load_network, scale_of
from quantnas_sr.deploy.luma import for_rgb
from quantnas_sr.deploy.memory import forget_peak, process_peak
from quantnas_sr.deploy.receptive_field import halo
from quantnas_sr.errors import DataError, MissingExtraError, OptionError, unknown
from quantnas_sr.input_shapes import run_padded

CHECKPOINTS = (".pth", ".pt")
_PREFIX = "quantnas_sr."
#: Sizes of images that OpenVINO stays compiled for.
_COMPILED_SIZES = 4


class Network(ABC):
    """A super-resolution network that is ready to run.

    Attributes:
        scale: s.
        halo: low-resolution pixels around a tile that its outcome depends on; None: it depends on the whole image.
    """

    scale: int
    halo: Optional[int]

    @abstractmethod
    def __call__(self, x: np.ndarray) -> np.ndarray:
        """RGB in 0..1, float32, (N, 3, h, w) -> (N, 3, s*h, s*w), not clipped."""

    def peak_memory(self) -> Optional[int]:
        """The most bytes in use so far, of the memory that the network runs in; None where that is not known."""
        return process_peak()

    def forget_peak_memory(self) -> None:
        """Start `peak_memory` anew from what is in use now, where that is possible."""
        forget_peak()


def open_network(path: Union[str, Path], runtime: str = "auto", threads: Optional[int] = None) -> Network:
    """Open an ``.onnx`` that ``quantnas export`` wrote, or the ``.pth`` of a trained network.

    Args:
        path: the file.
        runtime: ``openvino`` or ``onnxruntime`` for an ``.onnx``, ``torch`` for a ``.pth`` (on a GPU if there is
            one); ``auto`` takes what fits, and OpenVINO before ONNX Runtime.
        threads: of the processor; by default as the runtime has them.

    Raises:
        OptionError: unknown runtime, or one that does not run this kind of file.
        MissingExtraError: the runtime is not installed.
        DataError, GenotypeError: the file cannot be read, or is not ours.
    """
    path = Path(path)
    allowed = ("auto", *_ONNX_RUNTIMES, "torch")
    if runtime not in allowed:
        raise OptionError(unknown("runtime", runtime, allowed))
    if not path.is_file():
        raise DataError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
    if path.suffix.lower() == ".onnx":
        return _open_onnx(path, runtime, threads)
    if path.suffix.lower() not in CHECKPOINTS:
        raise DataError(f"{path}: not a network. Allowed: an .onnx of `quantnas export`, or the .pth of a training")
    if runtime not in ("auto", "torch"):
        raise OptionError(f"{path}: {runtime} does not run a .pth. Allowed: torch; or export it to .onnx first")
    return TorchNetwork(path, threads)


def _open_onnx(path: Path, runtime: str, threads: Optional[int]) -> Network:
    if runtime == "torch":
        raise OptionError(f"{path}: torch does not run an .onnx. Allowed: {', '.join(_ONNX_RUNTIMES)}")
    if runtime == "auto":
        runtime = next((name for name in _ONNX_RUNTIMES if importlib.util.find_spec(name)), "onnxruntime")
    if importlib.util.find_spec(runtime) is None:
        raise MissingExtraError(f"{path}: an .onnx", runtime, "export")
    return _ONNX_RUNTIMES[runtime](path, threads)


def _complaint(error: Exception) -> str:
    """The last line of what a runtime says, which is where they say it."""
    return ([line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__])[-1]


class _OnnxNetwork(Network):
    """What both runtimes of ONNX files have in common: scale and halo stand in the file's metadata."""

    def _read(self, path: Path, metadata: Mapping[str, str]) -> None:
        try:
            self.scale = int(metadata[_PREFIX + "scale"])
            width = metadata[_PREFIX + "halo"]
            self.halo = int(width) if width else None
            self.multiple = int(metadata.get(_PREFIX + "multiple", "1"))
        except (KeyError, ValueError):
            raise DataError(f"{path}: was not written by quantnas export") from None

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return run_padded(
            lambda image: torch.from_numpy(self._run(image.numpy())), torch.from_numpy(x), self.multiple
        ).numpy()

    @abstractmethod
    def _run(self, x: np.ndarray) -> np.ndarray:
        """As of `Network`, for sides that the graph takes."""


class OpenVINONetwork(_OnnxNetwork):
    """An ``.onnx`` in OpenVINO, on the processor. It is compiled for every size of image anew.

    With the sizes left free, OpenVINO (2024.6 to 2026.4 at least) loses the inner one of two residual branches of
    integer convolutions; with sizes that are known it computes what ONNX Runtime and PyTorch do.
    """

    def __init__(self, path: Path, threads: Optional[int]) -> None:
        import openvino
        from openvino.frontend import FrontEndManager

        try:
            # Core.read_model would try, and hear the complaints of, every other format too.
            frontend = FrontEndManager().load_by_framework("onnx")
            model = frontend.convert(frontend.load(str(path)))
        except Exception as error:
            raise DataError(f"{path}: OpenVINO cannot read it ({_complaint(error)})") from None
        known = model.has_rt_info(["framework"])
        self._read(path, dict(model.get_rt_info(["framework"]).value) if known else {})
        # Some processors would otherwise compute in bfloat16, which changes the pixels.
        self._options: Dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        if threads:
            self._options["INFERENCE_NUM_THREADS"] = threads
        self._path, self._model, self._core = path, model, openvino.Core()
        self._compiled: OrderedDict[Tuple[int, ...], Any] = OrderedDict()

    def _for(self, shape: Tuple[int, ...]) -> Any:
        if shape not in self._compiled:
            model = self._model.clone()
            try:
                model.reshape(list(shape))
                self._compiled[shape] = self._core.compile_model(model, "CPU", self._options)
            except Exception as error:
                raise DataError(f"{self._path}: OpenVINO cannot run it ({_complaint(error)})") from None
        self._compiled.move_to_end(shape)
        while len(self._compiled) > _COMPILED_SIZES:
            self._compiled.popitem(last=False)
        return self._compiled[shape]

    def _run(self, x: np.ndarray) -> np.ndarray:
        return self._for(x.shape)({"lq": x})[0]


class OnnxRuntimeNetwork(_OnnxNetwork):
    """An ``.onnx`` in ONNX Runtime, on the processor."""

    def __init__(self, path: Path, threads: Optional[int]) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # A pattern of memory is a second copy of it all, for every size of image that comes twice.
        options.enable_mem_pattern = False
        options.intra_op_num_threads = threads or 0
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise DataError(f"{path}: ONNX Runtime cannot read it ({_complaint(error)})") from None
        self._read(path, self._session.get_modelmeta().custom_metadata_map)

    def _run(self, x: np.ndarray) -> np.ndarray:
        return self._session.run(["sr"], {"lq": x})[0]


_ONNX_RUNTIMES: Dict[str, Callable[[Path, Optional[int]], Network]] = {
    "openvino": OpenVINONetwork,
    "onnxruntime": OnnxRuntimeNetwork,
}


class TorchNetwork(Network):
    """A checkpoint in PyTorch, on a GPU if there is one. Scale and halo are found by running it."""

    def __init__(self, path: Path, threads: Optional[int]) -> None:
        self._module = for_rgb(load_network(path))
        if threads:
            torch.set_num_threads(threads)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.scale = scale_of(self._module)
        self._module.to(self._device)

    @cached_property
    def halo(self) -> Optional[int]:  # noqa: D102 (of Network)
        return halo(self._module, self.scale)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return self._module(torch.from_numpy(x).to(self._device)).float().cpu().numpy()

    def peak_memory(self) -> Optional[int]:
        """As of `Network`; of the GPU where the network runs on one."""
        return torch.cuda.max_memory_allocated() if self._device.type == "cuda" else super().peak_memory()

    def forget_peak_memory(self) -> None:
        """As of `Network`."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        else:
            super().forget_peak_memory()
