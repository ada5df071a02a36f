"""The stack that signal handlers of a thread run on, kept from libraries that put their own in its place."""

import ctypes
import sys
from contextlib import contextmanager
from typing import Iterator, Optional, Tuple


class _Stack(ctypes.Structure):
    _fields_ = [("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]


def signal_stack() -> Tuple[int, int, int]:
    """Address, flags and size of this thread's alternate signal stack; zeros where the system is not Linux."""
    stack = _current()
    return (stack.start or 0, stack.flags, stack.size) if stack else (0, 0, 0)


@contextmanager
def signal_stack_kept() -> Iterator[None]:
    """After the block this thread has the alternate signal stack that it had before."""
    before = _current()
    try:
        yield
    finally:
        if before:
            ctypes.CDLL(None).sigaltstack(ctypes.byref(before), None)


def _current() -> Optional[_Stack]:
    if not sys.platform.startswith("linux"):  # where the fields have this order
        return None
    stack = _Stack()
    try:
        failed = ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack))
    except (OSError, AttributeError, TypeError):
        return None
    return None if failed else stack
