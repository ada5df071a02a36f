"""Datasets: what BasicSR's registry gets from this package, their check, and their making from photographs."""


def register() -> None:
    """Import the files that end in ``_dataset.py``, whose classes then are in BasicSR's registry.

    It is a function, so that the import of ``data.prepare.settings`` for a help text imports no torch.
    """
    from quantnas_sr.registration import import_registered

    import_registered(__name__, __file__, "_dataset")
