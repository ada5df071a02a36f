"""The worked example of docs/own_search_space.md, as it stands there."""

import re
from pathlib import Path

import torch

from quantnas_sr.cost import count
from quantnas_sr.search_space import DerivedNetwork, Genotype, Supernet

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/own_search_space.md"


def test_the_documented_space_is_searched_derived_and_costed(tmp_path):
    example = re.search(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL).group(1)
    assert len(example.splitlines()) < 60
    exec(compile(example, str(DOCUMENT), "exec"), {"__name__": "my_space"})

    net = Supernet("residual", scale=2, bits=[4, 8])
    image = torch.rand(1, 3, 10, 12)
    net(image).mean().backward()
    assert all(alphas.grad.abs().sum() > 0 for alphas in net.alphas.values())

    net.genotype().save(tmp_path / "genotype.yml")
    network = DerivedNetwork(Genotype.load(tmp_path / "genotype.yml"))
    assert network(image).shape == (1, 3, 20, 24)
    assert count(network).bitops > 0
