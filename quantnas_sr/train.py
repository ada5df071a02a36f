"""``python quantnas_sr/train.py -opt OPTIONS.yml``: BasicSR's train pipeline with this package."""

import sys
from pathlib import Path

if __package__ in (None, ""):
    # run as a script: Python has put this folder first on its path, where ours is to be found one level up
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from quantnas_sr.cli import basicsr_main

if __name__ == "__main__":
    sys.exit(basicsr_main(["train", *sys.argv[1:]]))
