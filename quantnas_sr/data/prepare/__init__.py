"""``quantnas prepare``: turns images into GT and LR pairs that BasicSR reads.

- ``prepare_folder``: turns photographs into LMDBs (training) or folders (testing)
- ``prepare_div2k``: does the same with the DIV2K archives, which are downloaded or given
- ``SubImages``: how images are cut
- ``Prepared``: what was written, and the options that point to it
"""

from quantnas_sr.system.lazy import lazily

_HOMES = {
    "Prepared": "quantnas_sr.data.prepare.sets",
    "SubImages": "quantnas_sr.data.prepare.images",
    "prepare_div2k": "quantnas_sr.data.prepare.div2k",
    "prepare_folder": "quantnas_sr.data.prepare.folder",
}
__getattr__, __dir__, __all__ = lazily(__name__, _HOMES)
