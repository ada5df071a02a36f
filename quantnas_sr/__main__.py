"""``python -m quantnas_sr`` is ``quantnas``."""

import sys

from quantnas_sr.cli import main

sys.exit(main())
