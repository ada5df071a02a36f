"""Networks that a search found, for ``network_g: {type: ..., genotype: FILE}``."""

from quantnas_sr.registration import ARCH_REGISTRY
from quantnas_sr.search_space import DerivedNetwork


@ARCH_REGISTRY.register()
class QuantNASNetwork(DerivedNetwork):
    """A derived network of any search space, a user's own among them. See `DerivedNetwork`."""


@ARCH_REGISTRY.register()
class QuantNASBasic(DerivedNetwork):
    """A derived network of the basic space. See `DerivedNetwork`."""

    search_space = "basic"


@ARCH_REGISTRY.register()
class QuantNASRFDN(DerivedNetwork):
    """A derived network of the RFDN space. See `DerivedNetwork`."""

    search_space = "rfdn"
