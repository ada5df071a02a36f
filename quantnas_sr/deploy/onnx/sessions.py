"""Runs ONNX files on the CPU in OpenVINO and ONNX Runtime, with settings that do not change the pixels."""

import io
import queue
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any, Dict, Optional, Sequence, Tuple

import numpy as np

from quantnas_sr.deploy.onnx.onnx_format import INPUT
from quantnas_sr.deploy.onnx.overflow import (
    ONNX_RUNTIME_EXACT,
    ONNX_RUNTIME_IN_FLOAT,
    OPENVINO_IN_FLOAT,
    has_vnni,
    may_overflow,
    openvino_overflows,
)
from quantnas_sr.deploy.packages import import_runtime
from quantnas_sr.deploy.session import Session, complaint
from quantnas_sr.errors import DataError
from quantnas_sr.system.signal_stack import signal_stack_kept

#: Number of image sizes for which compiled models are kept.
_COMPILED_SIZES = 4


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
        self._threads, self._calls = threads, 1
        self._compiled: OrderedDict[Tuple[int, ...], queue.Queue[Any]] = OrderedDict()
        self._lock = threading.Lock()

    def _for(self, shape: Tuple[int, ...]) -> "queue.Queue[Any]":
        """What computes images of a shape, compiled for it: as many as may be computed at once."""
        if shape not in self._compiled:
            model, options = self._model.clone(), self._options
            if self._calls > 1:
                options = {**options, "NUM_STREAMS": self._calls, "INFERENCE_NUM_THREADS": self._calls}
            try:
                model.reshape(list(shape))
                # OpenVINO's CPU plugin sets an alternate signal stack for this thread, and frees it while it is set:
                # the next signal, Ctrl-C too, would end the process.
                with signal_stack_kept():
                    compiled = self._core.compile_model(model, "CPU", options)
            except Exception as error:
                raise DataError(f"{self._path}: OpenVINO cannot run it ({complaint(error)})") from None
            self._compiled[shape] = queue.Queue()
            for _ in range(self._calls):
                self._compiled[shape].put(compiled.create_infer_request())
        self._compiled.move_to_end(shape)
        while len(self._compiled) > _COMPILED_SIZES:
            self._compiled.popitem(last=False)
        return self._compiled[shape]

    def __call__(self, x: np.ndarray) -> Dict[str, np.ndarray]:
        with self._lock:
            requests = self._for(x.shape)
        request = requests.get()
        try:
            return dict(zip(self._outputs, request.infer({INPUT: x}, share_inputs=True).values()))
        finally:
            requests.put(request)

    def _possible(self, calls: int) -> int:
        return min(calls, self._threads or calls)

    def _be_ready(self, calls: int) -> None:
        self._calls = calls
        self.free_memory()

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
            if not has_vnni():
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
        self._outputs, self._opened, self._settings, self._threads = outputs, opened, options, threads

    def __call__(self, x: np.ndarray) -> Dict[str, np.ndarray]:
        return dict(zip(self._outputs, self._session.run(list(self._outputs), {INPUT: x})))

    def _possible(self, calls: int) -> int:
        return min(calls, self._threads or calls)

    def _be_ready(self, calls: int) -> None:
        self._settings.intra_op_num_threads = 1 if calls > 1 else self._threads or 0
        self.free_memory()

    def free_memory(self) -> None:  # noqa: D102 (of Session)
        self._session = self._opened()
