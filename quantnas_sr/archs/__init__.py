"""Adds this package's networks to BasicSR's registry: the classes in the files that end in ``_arch.py``."""

from quantnas_sr.registration import import_registered

import_registered(__name__, __file__, "_arch")
