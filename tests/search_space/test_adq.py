"""The residual block ADQ and its three relatives."""

import pytest
import torch
from reference import golden_arrays
from torch import nn

from quantnas_sr.errors import OptionError
from quantnas_sr.search_space import ADQ
from quantnas_sr.search_space.skeletons.adq import sample_std

PARAMETERS = {
    "adq": {"bn.weight": (6,), "bn.bias": (6,), "gamma": (1,), "beta": (1,)},
    "adadm": {
        **{"bn.weight": (6,), "bn.bias": (6,), "gamma": (1,), "beta": (1,)},
        **{"bn_after.weight": (6,), "bn_after.bias": (6,)},
    },
    "batch": {"bn.weight": (6,), "bn.bias": (6,)},
    "none": {},
}


def conv() -> nn.Conv2d:
    return nn.Conv2d(6, 6, 3, padding=1, bias=False)


def batch_norm(x, weight, bias):
    mean = x.mean(dim=(0, 2, 3), keepdim=True)
    variance = x.var(dim=(0, 2, 3), keepdim=True, unbiased=False)
    return (x - mean) / torch.sqrt(variance + 1e-5) * weight.view(1, -1, 1, 1) + bias.view(1, -1, 1, 1)


def by_hand(adq, x):
    if adq.norm == "none":
        return adq.block(x) + x
    y = adq.block(batch_norm(x, adq.bn.weight, adq.bn.bias))
    std = torch.stack([sample.std() for sample in x]).view(-1, 1, 1, 1)
    if adq.norm == "batch":
        return y + x
    if adq.norm == "adq":
        return y * (adq.gamma * std + adq.beta) + x
    return batch_norm(y, adq.bn_after.weight, adq.bn_after.bias) * torch.exp(adq.gamma * std.log() + adq.beta) + x


def test_adq_computes_what_the_authors_code_computes_in_training_and_in_evaluation():
    arrays = golden_arrays("quantizers.npz")
    adq = ADQ(conv(), 6)
    adq.block.weight.data.copy_(arrays["adq_train/conv"])
    adq.bn.weight.data.copy_(arrays["adq_train/bn_weight"])
    adq.bn.bias.data.copy_(arrays["adq_train/bn_bias"])
    x = arrays["adq_train/input"]
    close = {"rtol": 1e-6, "atol": 1e-6}
    assert (adq.gamma.item(), adq.beta.item()) == (arrays["adq_train/gamma"], arrays["adq_train/beta"])
    torch.testing.assert_close(adq(x), arrays["adq_train/output"], **close)
    torch.testing.assert_close(adq.bn.running_mean, arrays["adq_eval/running_mean"], **close)
    torch.testing.assert_close(adq.bn.running_var, arrays["adq_eval/running_var"], **close)
    torch.testing.assert_close(adq.eval()(x), arrays["adq_eval/output"], **close)


@pytest.mark.parametrize("norm", PARAMETERS)
def test_each_norm_is_its_formula(norm, randomize):
    adq = ADQ(conv(), 6, norm)
    randomize(adq)
    x = torch.randn(4, 6, 7, 9) * torch.tensor([0.1, 1.0, 3.0, 10.0]).view(4, 1, 1, 1) + 2
    torch.testing.assert_close(adq(x), by_hand(adq, x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("norm", PARAMETERS)
def test_each_norm_has_its_parameters_and_no_others(norm):
    found = {name: tuple(p.shape) for name, p in ADQ(nn.Identity(), 6, norm).named_parameters()}
    assert found == PARAMETERS[norm]


@pytest.mark.parametrize("norm, gamma", [("adq", 1.5), ("adadm", 1.0)])
def test_gamma_and_beta_start_where_the_paper_starts_them(norm, gamma):
    adq = ADQ(nn.Identity(), 6, norm)
    assert (adq.gamma.item(), adq.beta.item()) == (gamma, 0.0)


@pytest.mark.parametrize("norm", PARAMETERS)
def test_an_image_of_one_colour_gives_finite_values_and_gradients(norm):
    adq = ADQ(conv(), 6, norm)
    x = torch.full((2, 6, 5, 5), 0.5, requires_grad=True)
    y = adq(x)
    y.sum().backward()
    assert all(tensor.isfinite().all() for tensor in (y, x.grad, *(p.grad for p in adq.parameters())))


def test_an_unknown_norm_is_refused_with_the_nearest():
    with pytest.raises(OptionError, match="unknown norm 'adqq', did you mean 'adq'"):
        ADQ(nn.Identity(), 6, "adqq")


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_the_deviation_of_a_large_image_is_that_of_exact_arithmetic(order):
    x = (torch.randn(1, 36, 180, 320) * 2 + torch.randn(1, 36, 1, 1) * 3 + 1).contiguous(memory_format=order)
    assert float(sample_std(x)) == pytest.approx(float(x.double().std()), rel=1e-6)
