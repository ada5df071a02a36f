"""A trained network out of its checkpoint."""

from pathlib import Path
from typing import Union

from torch import nn

from quantnas_sr.search_space.derived import load_derived


def load_network(path: Union[str, Path]) -> nn.Module:
    """Rebuild a trained network from its ``.pth`` alone, in evaluation mode on the CPU.

    Raises:
        GenotypeError: the file cannot be read, or is not the checkpoint of a network of this package.
    """
    return load_derived(path)
