"""Search, train and ship quantized super-resolution networks with BasicSR.

Importing this package is all that a BasicSR project needs, before or after it imports BasicSR. It repairs what keeps
BasicSR from running today (`compat`), registers our networks, models, datasets and losses, and checks the options of
every run that uses them. All of that happens when BasicSR is imported; until then the import of this package is cheap.

From Python, beside BasicSR's own pipelines:

- `Genotype`: what a search found, and its file
- `load_network`: a trained network from its checkpoint alone
- `count`: MACs, BitOps, parameters and packed size of any network
- `export_network`: a trained network as an integer ONNX file, checked
- `open_network`, `upscale`: an exported or trained network, ready to run; an image through it
"""

from quantnas_sr import compat
from quantnas_sr.system.lazy import lazily
from quantnas_sr.version import __version__ as __version__

compat.apply()


def _register() -> None:
    """Everything that BasicSR's registries get from this package, and the check of the options."""
    from quantnas_sr import archs, data, losses, models  # noqa: F401
    from quantnas_sr.options import hook

    data.register()
    hook.install()


compat.when_all_is_imported(_register)

_HOMES = {
    "Genotype": "quantnas_sr.search_space",
    "count": "quantnas_sr.cost",
    # `quantnas_sr.export` is the package
    "export_network": "quantnas_sr.export.exporting:export",
    "load_network": "quantnas_sr.checkpoints",
    "open_network": "quantnas_sr.deploy.runtimes",
    "upscale": "quantnas_sr.upscaling",
}
__getattr__, __dir__, __all__ = lazily(__name__, _HOMES, ["__version__", "compat"])
