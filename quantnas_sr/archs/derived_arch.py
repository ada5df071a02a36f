"""Networks that a search found, for ``network_g: {type: ..., genotype: FILE}``."""

from quantnas_sr.registration import ARCH_REGISTRY
from quantnas_sr.search_space import DerivedNetwork


@ARCH_REGISTRY.register()
class QuantNASNetwork(DerivedNetwork):
    """A derived network of any search space, including a user's own. See `DerivedNetwork`."""


@ARCH_REGISTRY.register()
class QuantNASBasic(DerivedNetwork):
    """A derived network of the basic space. See `DerivedNetwork`."""

    search_space = "basic"


@ARCH_REGISTRY.register()
class QuantNASRFDN(DerivedNetwork):
    """A derived network of the RFDN space. See `DerivedNetwork`."""

    search_space = "rfdn"


@ARCH_REGISTRY.register()
class QuantNASPlain(DerivedNetwork):
    """A derived network of the plain space. See `DerivedNetwork`."""

    search_space = "plain"
