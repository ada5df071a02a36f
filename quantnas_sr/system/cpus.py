"""How many CPUs there are for this process."""

import os


def available_cpus() -> int:
    """The CPUs that this process may use: those of its affinity mask where the system has one, else all of them.

    Linux has the mask. macOS and Windows have none that Python can read before 3.13.
    """
    if hasattr(os, "process_cpu_count"):
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
