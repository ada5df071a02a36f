"""The import of PyAV, which the extra ``run`` has; silent, since errors are reported as exceptions of our own."""

import importlib
import importlib.util
import os
from types import ModuleType

from quantnas_sr.errors import MissingExtraError


def import_av() -> ModuleType:
    """Import PyAV.

    Raises:
        MissingExtraError: it is not installed, or cannot be imported.
    """
    if importlib.util.find_spec("av") is None:
        raise MissingExtraError("a video", "PyAV (av)", "run")
    os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 would print what it does
    try:
        av = importlib.import_module("av")
    except ImportError as error:
        raise MissingExtraError("a video", f"PyAV (av), which cannot be imported ({error})", "run") from None
    av.logging.set_level(None)
    return av
