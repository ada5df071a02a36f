"""Registers ADQ for archs of other projects: ``ARCH_REGISTRY.get("ADQ_quantnas")(block, channels, norm="adq")``."""

from quantnas_sr.registration import ARCH_REGISTRY
from quantnas_sr.search_space import ADQ

ARCH_REGISTRY.register(ADQ)
