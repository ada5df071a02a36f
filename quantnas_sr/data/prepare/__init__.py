"""``quantnas prepare``: images to GT and LR pairs that BasicSR reads.

- ``prepare_folder``: any photographs to LMDBs (training) or folders (testing)
- ``prepare_div2k``: the DIV2K archives, downloaded or at hand, to the same
- ``SubImages``: how images are cut
- ``Prepared``: what was written, and the options that point to it
- ``add_arguments``, ``run``: the command line
"""

from quantnas_sr.data.prepare.cli import add_arguments, run
from quantnas_sr.data.prepare.div2k import prepare_div2k
from quantnas_sr.data.prepare.folder import prepare_folder
from quantnas_sr.data.prepare.images import SubImages
from quantnas_sr.data.prepare.sets import Prepared

__all__ = ["Prepared", "SubImages", "add_arguments", "prepare_div2k", "prepare_folder", "run"]
