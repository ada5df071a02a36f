"""What BasicSR's registry of networks gets from this package: the classes in the files that end in ``_arch.py``."""

from quantnas_sr.registration import import_registered

import_registered(__name__, __file__, "_arch")
