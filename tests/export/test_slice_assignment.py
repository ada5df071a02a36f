"""Numbers that are assigned to slices are the same with `torch.where`."""

import pytest
import torch

from quantnas_sr.export.onnx_graph.slice_assignment import SlicesWithWhere

EVERY = slice(None)


@pytest.mark.parametrize(
    "places",
    [
        (EVERY, slice(0, -4), slice(-2, None), EVERY),
        (EVERY, slice(-4, -2), slice(3, 5)),
        (slice(1, 2),),
        slice(0, 1),
        (EVERY, slice(-2, 0)),
        (EVERY, slice(-100, 100)),
        (EVERY, slice(0, None, 2)),
        (EVERY, 1),
        (..., 0),
        None,
    ],
)
def test_the_same_elements_are_set(places):
    expected, found = torch.zeros(2, 7, 9, 1), torch.zeros(2, 7, 9, 1)
    expected[places] = 3
    with SlicesWithWhere():
        found[places] = 3
    assert torch.equal(found, expected)


def test_tensors_are_assigned_as_ever():
    x = torch.zeros(4, 4)
    with SlicesWithWhere():
        x[:2, 1:] = torch.ones(2, 3)
    assert x.sum() == 6


def test_a_network_may_write_into_its_image():
    from quantnas_sr.input_shapes import run_fitting

    x = torch.full((1, 3, 4, 4), 0.5)
    assert run_fitting(lambda image: image.mul_(2), x, lambda: 1).eq(1).all() and x.eq(0.5).all()
