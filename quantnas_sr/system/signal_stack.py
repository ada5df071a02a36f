"""The stack that signal handlers of a thread run on, kept from libraries that put their own in its place."""

import ctypes
from contextlib import contextmanager
from typing import Iterator, Optional, Tuple

from quantnas_sr.system.c_library import c_function


class _Stack(ctypes.Structure):
    """``stack_t`` of Linux."""

    _fields_ = [("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]


def signal_stack() -> Optional[Tuple[Optional[int], int, int]]:
    """Address, flags and size of this thread's alternate signal stack; None where the system is not Linux."""
    sigaltstack, stack = c_function("sigaltstack"), _Stack()
    if sigaltstack is None or sigaltstack(None, ctypes.byref(stack)):
        return None
    return stack.start, stack.flags, stack.size


@contextmanager
def signal_stack_kept() -> Iterator[None]:
    """After the block this thread has the alternate signal stack that it had before."""
    before = signal_stack()
    try:
        yield
    finally:
        if before is not None:
            c_function("sigaltstack")(ctypes.byref(_Stack(*before)), None)
