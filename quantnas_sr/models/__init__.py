"""What BasicSR's registry of models gets from this package: the classes in the files that end in ``_model.py``."""

from quantnas_sr.registration import import_registered

import_registered(__name__, __file__, "_model")
