"""Convolutions to few channels by way of folded images."""

import pytest
import torch
from torch.nn import functional as F

from quantnas_sr.search_space.mixing import space_to_depth


@pytest.mark.parametrize("size", [(2, 2), (6, 4), (10, 16)])
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_a_folded_convolution_is_the_convolution_with_its_gradients(order, size):
    x = torch.randn(2, 5, *size, dtype=torch.float64).contiguous(memory_format=order).requires_grad_()
    kernel = torch.randn(3, 5, 5, 5, dtype=torch.float64).contiguous(memory_format=order).requires_grad_()
    folded, plain = space_to_depth.folded_conv2d(x, kernel), F.conv2d(x, kernel, padding=2)
    torch.testing.assert_close(folded, plain)
    direction = torch.randn_like(plain)
    for ours, theirs in zip(*(torch.autograd.grad(y, (x, kernel), direction) for y in (folded, plain))):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    "image, kernel, expected",
    [
        ((1, 36, 8, 8), (3, 36, 5, 5), True),
        ((1, 36, 8, 8), (3, 36, 3, 3), False),
        ((1, 36, 8, 8), (36, 36, 5, 5), False),
        ((1, 3, 8, 8), (3, 3, 5, 5), False),
        ((1, 36, 7, 8), (3, 36, 5, 5), False),
        ((1, 36, 8, 7), (3, 36, 5, 5), False),
    ],
)
def test_it_is_used_for_5x5_convolutions_of_many_channels_to_few(image, kernel, expected):
    assert space_to_depth.is_faster(torch.empty(image), torch.empty(kernel)) == expected


def test_under_autocast_the_convolution_alone_runs_in_its_type():
    x, kernel = torch.randn(1, 16, 8, 8), torch.randn(3, 16, 5, 5)
    with torch.autocast("cpu", torch.bfloat16):
        y = space_to_depth.folded_conv2d(x, kernel)
    assert y.dtype is torch.bfloat16
    torch.testing.assert_close(y.float(), F.conv2d(x, kernel, padding=2), rtol=0.05, atol=0.5)
