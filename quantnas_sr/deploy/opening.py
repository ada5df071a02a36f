"""Opens an exported file in a runtime: ``.onnx`` in OpenVINO or ONNX Runtime, ``.tflite`` in LiteRT."""

from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence, Tuple

from quantnas_sr.deploy.onnx.onnx_format import OUTPUT
from quantnas_sr.deploy.onnx.sessions import OnnxRuntimeSession, OpenVINOSession
from quantnas_sr.deploy.packages import LITERT, LITERT_BUILTIN
from quantnas_sr.deploy.session import Session


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
