"""Search spaces, supernets, genotypes and derived networks.

- `SearchSpace`, `register_search_space`: a skeleton and the candidates for its slots (``skeletons/basic.py``,
  ``rfdn.py``, ``plain.py``)
- `Supernet`: the skeleton filled with mixed layers; `DerivedNetwork`: filled with the operations of a `Genotype`
- ``mixing/bit_mixer.py``, ``multi_bit_conv.py``: equations 3, 4, 5; ``mixed_layer.py``: equation 7
- ``operations.py``: operations by name
- `ADQ`: the residual block around cells
"""

from quantnas_sr.search_space.derived import DerivedNetwork, load_derived
from quantnas_sr.search_space.genotype import Choice, Genotype
from quantnas_sr.search_space.mixing.mixed_layer import MixedLayer
from quantnas_sr.search_space.search_network import SearchNetwork
from quantnas_sr.search_space.skeletons.adq import ADQ
from quantnas_sr.search_space.skeletons.basic import BASIC_SPACE
from quantnas_sr.search_space.skeletons.esa import ESA
from quantnas_sr.search_space.skeletons.plain import PLAIN_SPACE
from quantnas_sr.search_space.skeletons.rfdn import RFDN_SPACE
from quantnas_sr.search_space.slots import Fill, Slot
from quantnas_sr.search_space.space import SearchSpace, get_search_space, register_search_space
from quantnas_sr.search_space.supernet import Supernet

__all__ = [
    "ADQ",
    "BASIC_SPACE",
    "Choice",
    "DerivedNetwork",
    "ESA",
    "Fill",
    "Genotype",
    "MixedLayer",
    "PLAIN_SPACE",
    "RFDN_SPACE",
    "SearchNetwork",
    "SearchSpace",
    "Slot",
    "Supernet",
    "get_search_space",
    "load_derived",
    "register_search_space",
]
