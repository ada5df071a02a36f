"""What the C library does with freed memory."""

import functools

from quantnas_sr.system.c_library import c_function

#: Parameters of glibc's mallopt(3).
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
_NEVER = 2**30


@functools.cache
def keep_freed_memory() -> bool:
    """Keep freed memory in this process instead of giving it back to the system, as caching allocators on GPUs do.

    By default glibc returns a freed block of more than 32 MB at once, and in every training step the system has to map
    and clear the pages of its large images again, which can take longer than the step itself. Returns whether the C
    library has this setting: glibc on Linux has, those of Windows, macOS and Alpine have not. It lasts as long as the
    process, whose peak of memory is a few per cent higher.
    """
    mallopt = c_function("mallopt")
    return mallopt is not None and all(mallopt(key, _NEVER) for key in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD))


def give_back_freed_memory() -> None:
    """Give all freed memory that this process still holds back to the system, where the C library can do that."""
    trim = c_function("malloc_trim")
    if trim is not None:
        trim(0)
