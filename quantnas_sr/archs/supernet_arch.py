"""The search network, for ``network_g`` of a search."""

from quantnas_sr.registration import ARCH_REGISTRY
from quantnas_sr.search_space import Supernet


@ARCH_REGISTRY.register()
class QuantNASSupernet(Supernet):
    __doc__ = Supernet.__doc__
