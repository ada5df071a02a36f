"""Search, train and ship quantized super-resolution networks with BasicSR.

Importing this package is all that a BasicSR project needs: it repairs what keeps BasicSR from running today (`compat`),
registers our networks, models, datasets and losses, and checks the options of every run that uses them.

- ``quantization``: LSQ weights, HWGQ and LSQ activations, quantization noise
- ``search_space``: operations, BitMixer, mixed layers, the skeletons, genotypes
- ``archs``, ``models``, ``losses``, ``data``: what BasicSR's registries get
- ``cost``: MACs, BitOps and parameters of any network
- ``report``: pictures
"""

from quantnas_sr import compat
from quantnas_sr.version import __version__

compat.apply()

from quantnas_sr import archs  # noqa: E402


def _register() -> None:
    """What needs all of BasicSR; deferred when BasicSR itself is importing us from its archs folder."""
    from quantnas_sr import data, losses, models  # noqa: F401
    from quantnas_sr.options import hook

    hook.install()


compat.when_basicsr_is_imported(_register)

__all__ = ["__version__", "archs", "compat"]
