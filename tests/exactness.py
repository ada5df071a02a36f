"""Which runtimes are held to PyTorch's integers: on processors without VNNI, OpenVINO computes some files in float."""

from pathlib import Path
from typing import List

from quantnas_sr.deploy.packages import installed_runtimes
from quantnas_sr.deploy.sessions import open_session


def exact_runtimes(path: Path) -> List[str]:
    """Those that `quantnas export` checks a file in on this processor; see `quantnas_sr.deploy.overflow`."""
    runtimes = installed_runtimes()
    return [runtime for runtime in runtimes if not open_session(runtime, path).in_float] or runtimes
