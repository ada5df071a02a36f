"""ADQ by name, for archs of other projects: ``ARCH_REGISTRY.get("ADQ")(block, channels, norm="adq")``."""

from basicsr.utils.registry import ARCH_REGISTRY

from quantnas_sr.search_space import ADQ

ARCH_REGISTRY.register(ADQ)
