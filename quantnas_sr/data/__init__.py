"""Datasets: classes for BasicSR's registry, checks before a run, and preparation from photographs."""


def register() -> None:
    """Import the files that end in ``_dataset.py``, which adds their classes to BasicSR's registry.

    This is a function so that importing ``data.prepare.settings`` for a help text does not import torch.
    """
    from quantnas_sr.registration import import_registered

    import_registered(__name__, __file__, "_dataset")
