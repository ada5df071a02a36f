"""Functions of the C library that Python does not offer."""

import ctypes
import sys
from typing import Any, Optional


def c_function(name: str) -> Optional[Any]:
    """A function of the C library by its name; None where there is none, or the system is not Linux."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
