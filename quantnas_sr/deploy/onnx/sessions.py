"""Runs exported files on the CPU, with settings that do not change the pixels: ONNX files in OpenVINO and ONNX Runtime.

The session of ``.tflite`` files is in `litert.session`.
"""

import io
from abc import ABC, abstractmethod
from collections import OrderedDict
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from quantnas_sr.deploy.onnx_format import INPUT, OUTPUT
from quantnas_sr.deploy.overflow import (
    ONNX_RUNTIME_EXACT,
    ONNX_RUNTIME_IN_FLOAT,
    OPENVINO_IN_FLOAT,
    may_overflow,
    openvino_overflows,
)
from quantnas_sr.deploy.packages import LITERT, LITERT_BUILTIN, import_runtime
from quantnas_sr.errors import DataError

#: Number of image sizes for which compiled models are kept.
_COMPILED_SIZES = 4


class Session(ABC):
    """An exported file in a runtime.

    Attributes:
        metadata: of the file.
        in_float: whether it is computed in float, because integers would overflow on this processor, see `overflow`.
        pixels: the kind of numbers of its images: float32, or uint8.
    """

    metadata: Mapping[str, str]
    pixels: np.dtype
    in_float: bool = False

    @abstractmethod
    def __call__(self, x: np.ndarray) -> Dict[str, np.ndarray]:
        """Compute the outputs, by name, of an image (N, 3, H, W) of its ``pixels``."""

    @abstractmethod
    def free_memory(self) -> None:
        """Give back what is kept for further images; they may take a little longer then."""


def open_session(
    runtime: str,
    path: Path,
    threads: Optional[int] = None,
    outputs: Sequence[str] = (OUTPUT,),
    model: Optional[bytes] = None,
) -> Session:
    """Open an exported file in a runtime.

    Args:
        runtime: one of `packages.ALL_RUNTIMES`.
        path: the file.
        threads: CPU threads; by default the runtime's.
        outputs: the names of all outputs of the file, in their order.
        model: content to open instead of the file; ``path`` is then used in errors only.

    Raises:
        DataError: the runtime cannot read the file.
        MissingExtraError: the runtime cannot be used.
    """
    return _SESSIONS[runtime](path, threads, tuple(outputs), model)


def exact_runtimes(path: Path, runtimes: Sequence[str]) -> List[str]:
    """Those runtimes that compute a file in integers on this processor; all of them where none does, see `overflow`.

    Raises:
        DataError: a runtime cannot read the file.
    """
    return [runtime for runtime in runtimes if not open_session(runtime, path).in_float] or list(runtimes)


def complaint(error: Exception) -> str:
    """The last line of a runtime's error message, which is the one that says what is wrong."""
    return ([line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__])[-1]


def _kind(said: Sequence[str]) -> np.dtype:
    """The kind of numbers of the first input, by what a runtime says of all; there are files without one."""
    return np.dtype(np.uint8 if said and said[0] in ("uint8_t", "u8", "tensor(uint8)") else np.float32)


class OpenVINOSession(Session):
    """A file in OpenVINO. The network is compiled for each image size.

    With dynamic sizes, OpenVINO (2024.6 to 2026.4 at least) loses the inner one of two residual branches of integer
    convolutions; with fixed sizes it computes what ONNX Runtime and PyTorch compute.
    """

    def __init__(self, path: Path, threads: Optional[int], outputs: Tuple[str, ...], model: Optional[bytes]) -> None:
        openvino = import_runtime("openvino", f"{path}: an .onnx")
        try:
            # Core.read_model would try every other format too, and print the errors of each.
            frontend = openvino.frontend.FrontEndManager().load_by_framework("onnx")
            source = str(path) if model is None else io.BytesIO(model)
            self._model = frontend.convert(frontend.load(source))
            known = self._model.has_rt_info(["framework"])
            self.metadata = dict(self._model.get_rt_info(["framework"]).value) if known else {}
        except Exception as error:
            raise DataError(f"{path}: OpenVINO cannot read it ({complaint(error)})") from None
        self.pixels = _kind([given.get_element_type().to_string() for given in self._model.inputs])
        # Some processors would otherwise compute in bfloat16, which changes the pixels.
        self._options: Dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        self.in_float = may_overflow(self._model) and openvino_overflows()
        if self.in_float:
            self._options.update(OPENVINO_IN_FLOAT)
        if threads:
            self._options["INFERENCE_NUM_THREADS"] = threads
        self._path, self._outputs, self._core = path, outputs, openvino.Core()
        self._compiled: OrderedDict[Tuple[int, ...], Any] = OrderedDict()

    def _for(self, shape: Tuple[int, ...]) -> Any:
        """The network compiled for a shape of images."""
        if shape not in self._compiled:
            model = self._model.clone()
            try:
                model.reshape(list(shape))
                self._compiled[shape] = self._core.compile_model(model, "CPU", self._options)
            except Exception as error:
                raise DataError(f"{self._path}: OpenVINO cannot run it ({complaint(error)})") from None
        self._compiled.move_to_end(shape)
        while len(self._compiled) > _COMPILED_SIZES:
            self._compiled.popitem(last=False)
        return self._compiled[shape]

    def __call__(self, x: np.ndarray) -> Dict[str, np.ndarray]:
        return dict(zip(self._outputs, self._for(x.shape)({INPUT: x}).values()))

    def free_memory(self) -> None:  # noqa: D102 (of Session)
        self._compiled.clear()


class OnnxRuntimeSession(Session):
    """A file in ONNX Runtime."""

    def __init__(self, path: Path, threads: Optional[int], outputs: Tuple[str, ...], model: Optional[bytes]) -> None:
        onnxruntime = import_runtime("onnxruntime", f"{path}: an .onnx")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # A memory pattern keeps a second copy of all tensors, for every image size that occurs twice.
        options.enable_mem_pattern = False
        options.intra_op_num_threads = threads or 0
        source = str(path) if model is None else model

        def opened() -> Any:
            return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])

        try:
            options.add_session_config_entry(*ONNX_RUNTIME_EXACT)
            try:
                self._session = opened()
            except onnxruntime.capi.onnxruntime_pybind11_state.Fail:  # two convolutions share their weights
                options.add_session_config_entry(*ONNX_RUNTIME_IN_FLOAT)
                self._session = opened()
                self.in_float = True
            self.metadata = dict(self._session.get_modelmeta().custom_metadata_map)
        except Exception as error:
            raise DataError(f"{path}: ONNX Runtime cannot read it ({complaint(error)})") from None
        self.pixels = _kind([given.type for given in self._session.get_inputs()])
        self._outputs, self._opened = outputs, opened

    def __call__(self, x: np.ndarray) -> Dict[str, np.ndarray]:
        return dict(zip(self._outputs, self._session.run(list(self._outputs), {INPUT: x})))

    def free_memory(self) -> None:  # noqa: D102 (of Session)
        self._session = self._opened()


_Open = Callable[[Path, Optional[int], Tuple[str, ...], Optional[bytes]], Session]


def _litert(xnnpack: bool) -> _Open:
    def opened(path: Path, threads: Optional[int], outputs: Tuple[str, ...], model: Optional[bytes]) -> Session:
        from quantnas_sr.deploy.litert.session import LiteRTSession

        return LiteRTSession(path, threads, outputs, model, xnnpack)

    return opened


_SESSIONS: Dict[str, _Open] = {
    "openvino": OpenVINOSession,
    "onnxruntime": OnnxRuntimeSession,
    LITERT: _litert(xnnpack=True),
    LITERT_BUILTIN: _litert(xnnpack=False),
}
