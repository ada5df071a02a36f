"""The optimizer Muon: what it does to matrices, that the rest is Adam's, what it refuses."""

import pytest
import torch
from torch import nn

from quantnas_sr.muon import Muon, orthogonal


@pytest.mark.parametrize("rows, columns", [(48, 432), (432, 48), (16, 16), (3, 2)])
def test_the_update_of_a_matrix_has_its_singular_vectors_and_singular_values_near_one(rows, columns):
    matrix = torch.randn(rows, columns)
    found = orthogonal(matrix, steps=10)
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    inner = u.T @ found @ v.T
    values = inner.diagonal()
    assert values.min() > 0.6 and values.max() < 1.3
    assert (inner - values.diag()).abs().max() < 1e-3


def test_zeros_stay_zeros_and_the_scale_does_not_matter():
    assert not orthogonal(torch.zeros(4, 9)).any()
    matrix = torch.randn(4, 9)
    torch.testing.assert_close(orthogonal(matrix), orthogonal(1e-12 * matrix), rtol=1e-3, atol=1e-3)


def descend(optimizer, parameters, steps=4):
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()
    return [parameter.detach().clone() for parameter in parameters]


@pytest.mark.parametrize("shape", [(8,), (8, 1, 1, 1), (8, 1, 3, 3), (1, 4, 3, 3), ()])
def test_what_is_no_matrix_has_the_steps_of_adamw(shape):
    start, options = torch.randn(shape), {"lr": 1e-2, "betas": (0.8, 0.9), "eps": 1e-6, "weight_decay": 0.1}
    ours, theirs = ([nn.Parameter(start.clone())] for _ in range(2))
    found, expected = descend(Muon(ours, **options), ours), descend(torch.optim.AdamW(theirs, **options), theirs)
    torch.testing.assert_close(found, expected)


def test_the_step_of_a_convolution_is_as_large_as_adams():
    weight = nn.Parameter(torch.zeros(32, 16, 3, 3))
    (moved,) = descend(Muon([weight], lr=1e-2), [weight], steps=1)
    assert 0.1 < moved.square().mean().sqrt() / 1e-2 < 0.3, "0.2 of the rate, Adam's own in the middle of a training"


def test_a_convolution_learns_another_one():
    torch.manual_seed(0)
    student, teacher = (nn.Conv2d(4, 8, 3, padding=1) for _ in range(2))
    x, optimizer = torch.randn(4, 4, 12, 12), Muon(student.parameters(), lr=2e-2)

    def loss():
        optimizer.zero_grad()
        value = (student(x) - teacher(x).detach()).square().mean()
        value.backward()
        return value.item()

    losses = [optimizer.step(loss) for _ in range(60)]
    assert losses[-1] < 0.1 * losses[0]


def test_weights_decay_apart_from_the_gradient():
    weight = nn.Parameter(torch.ones(4, 4))
    weight.grad = torch.zeros(4, 4)
    Muon([weight], lr=0.1, weight_decay=0.5).step()
    assert weight.detach().unique().tolist() == pytest.approx([0.95])


def test_a_saved_state_goes_on():
    starts = [torch.randn(8, 4, 3, 3), torch.randn(8)]

    def made():
        parameters = [nn.Parameter(start.clone()) for start in starts]
        return parameters, Muon(parameters, lr=1e-2)

    whole, optimizer = made()
    expected = descend(optimizer, whole)
    first, begun = made()
    generator = torch.Generator().manual_seed(0)
    for i in range(4):
        if i == 2:
            again, resumed = [nn.Parameter(p.detach().clone()) for p in first], begun.state_dict()
            begun = Muon(again, lr=1e-2)
            begun.load_state_dict(resumed)
            first = again
        for parameter in first:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        begun.step()
    assert all(torch.equal(a, b) for a, b in zip(expected, first))


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"momentum": 1}, "momentum: 1 is not from 0 to less than 1"),
        ({"betas": (0.9, 1.5)}, "betas[1]: 1.5 is not from 0 to less than 1"),
        ({"lr": -1}, "lr: -1 is below 0"),
        ({"eps": float("nan")}, "eps: nan is below 0"),
        ({"ns_steps": 0}, "ns_steps: 0 is below 1"),
    ],
)
def test_an_argument_out_of_range_is_refused(wrong, message):
    with pytest.raises(ValueError) as caught:
        Muon([nn.Parameter(torch.zeros(1))], **wrong)
    assert str(caught.value) == message


def test_its_name_is_ours_in_options_files_and_those_of_torch_stay():
    import basicsr  # noqa: F401

    from quantnas_sr.compat.models import torch_optimizers

    known = torch_optimizers()
    assert known["Muon"] is Muon and known["Adam"] is torch.optim.Adam
