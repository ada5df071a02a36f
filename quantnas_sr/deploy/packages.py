"""The optional packages that run exported files: which are installed, which are new enough, and their import.

``import openvino`` reports itself to Google Analytics and keeps an identifier of the user in ``~/intel``, by means of
the package ``openvino_telemetry``. The documented way to opt out (``opt_in_out --opt_out``) writes to that folder too.
Without that package, OpenVINO uses a stub that does nothing. So OpenVINO is imported here as if it were not installed.
"""

import importlib
import importlib.util
import re
import sys
from contextlib import contextmanager
from types import ModuleType
from typing import Dict, Iterator, List, Tuple

from quantnas_sr.errors import MissingExtraError

#: The runtimes of ``.onnx`` files, best first.
RUNTIMES = ("openvino", "onnxruntime")
#: Those of ``.tflite`` files: LiteRT with XNNPACK, which is its default, and with its own kernels alone.
LITERT, LITERT_BUILTIN = LITERT_RUNTIMES = ("litert", "litert_builtin")
#: Runtimes by the suffix of an exported file; all of them.
RUNTIMES_OF = {".onnx": RUNTIMES, ".tflite": LITERT_RUNTIMES}
ALL_RUNTIMES = (*RUNTIMES, *LITERT_RUNTIMES)
#: The first versions that run exported files: ONNX Runtime before 1.21 has no DepthToSpace of uint8.
_OLDEST: Dict[str, Tuple[int, int]] = {"onnxruntime": (1, 21)}
_TELEMETRY = "openvino_telemetry"


def installed_runtimes() -> List[str]:
    """Those of `RUNTIMES` that are installed, whatever their version."""
    return [name for name in RUNTIMES if importlib.util.find_spec(name)]


def usable_runtimes(feature: str, most: int = len(RUNTIMES)) -> Tuple[List[str], List[str]]:
    """The installed runtimes that can be used, best first.

    Args:
        feature: what they are needed for.
        most: how many are wanted; the others are not imported.

    Returns:
        Their names, and one line for each installed runtime that cannot be used.

    Raises:
        MissingExtraError: none is left.
    """
    names: List[str] = []
    problems: List[MissingExtraError] = []
    for name in installed_runtimes():
        if len(names) == most:
            break
        try:
            import_runtime(name, feature)
            names.append(name)
        except MissingExtraError as error:
            problems.append(error)
    if not names:
        raise problems[0] if problems else MissingExtraError(feature, " or ".join(RUNTIMES), "export")
    return names, [str(problem) for problem in problems]


def import_runtime(name: str, feature: str) -> ModuleType:
    """Import a runtime with its telemetry disabled.

    Args:
        name: one of `ALL_RUNTIMES`; of LiteRT it is the package, whose modules `import_litert` imports.
        feature: what it is needed for.

    Raises:
        MissingExtraError: it is not installed, too old, or cannot be imported.
    """
    if name in LITERT_RUNTIMES:
        return import_litert(feature, "")
    if importlib.util.find_spec(name) is None:
        raise MissingExtraError(feature, name, "export")
    try:
        with _without_telemetry():
            module = importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(feature, f"{name}, which cannot be imported ({error})", "export") from None
    _check_version(module, name, feature)
    if hasattr(module, "disable_telemetry_events"):  # of ONNX Runtime, which has them on Windows
        module.disable_telemetry_events()
    return module


def import_litert(feature: str, part: str) -> ModuleType:
    """Import a module of LiteRT, which sends nothing to its makers.

    Args:
        feature: what it is needed for.
        part: name of the module in ``ai_edge_litert``; empty for the package, which has the version.

    Raises:
        MissingExtraError: it is not installed, or cannot be imported.
    """
    if importlib.util.find_spec("ai_edge_litert") is None:
        raise MissingExtraError(feature, "ai-edge-litert", "litert")
    try:
        return importlib.import_module(f"ai_edge_litert.{part}" if part else "ai_edge_litert")
    except (ImportError, OSError) as error:
        raise MissingExtraError(feature, f"ai-edge-litert, which cannot be imported ({error})", "litert") from None


def _check_version(module: ModuleType, name: str, feature: str) -> None:
    oldest, installed = _OLDEST.get(name), str(getattr(module, "__version__", ""))
    numbers = re.match(r"(\d+)\.(\d+)", installed)
    if oldest and numbers and (int(numbers[1]), int(numbers[2])) < oldest:
        needed = f"{name} {oldest[0]}.{oldest[1]} or newer (Python 3.10 or newer has it; installed is {installed})"
        raise MissingExtraError(feature, needed, "export")


@contextmanager
def _without_telemetry() -> Iterator[None]:
    """Make imports of ``openvino_telemetry`` fail, as if it were not installed."""
    absent = object()
    before = sys.modules.get(_TELEMETRY, absent)
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if before is absent:
            del sys.modules[_TELEMETRY]
        else:
            sys.modules[_TELEMETRY] = before  # type: ignore[assignment]
