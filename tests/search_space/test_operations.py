"""Operations by name: what they are made of, that they keep the image's size, and what a wrong name is told."""

import pytest
import torch
from torch import nn

from quantnas_sr.errors import OptionError
from quantnas_sr.search_space.mixing.bit_mixer import quantized_operation
from quantnas_sr.search_space.operations import COMMON_OPERATIONS, build_operation, check_operation, convolutions

FAMILIES = (
    *("simple_7x7", "simple_3x3_grouped_4", "simple_5x5_d3", "simple_3x3_grouped_3_d2", "simple_3x3_grouped_full_d2"),
    *("conv_7x1_1x7", "conv_1x1_1x1", "growth3_3x3", "growth1_7x7", "decenc_3x3_3", "decenc_7x7_2_g2", "DWS_7x7"),
    *("3x3_increase_4", "5x5_decrease_3"),
)

#: name, channels in, channels out, C: the convolutions as (in, out, kernel, groups, dilation).
STRUCTURES = [
    ("simple_5x5", 3, 36, 36, [(3, 36, (5, 5), 1, 1)]),
    ("simple_5x5_grouped_3_d2", 12, 24, 36, [(12, 24, (5, 5), 3, 2)]),
    ("simple_3x3_grouped_full", 12, 24, 36, [(12, 24, (3, 3), 12, 1)]),
    ("conv_5x1_1x5", 3, 48, 36, [(3, 36, (5, 1), 1, 1), (36, 48, (1, 5), 1, 1)]),
    ("growth2_3x3", 3, 48, 36, [(3, 72, (3, 3), 1, 1), (72, 48, (3, 3), 1, 1)]),
    ("decenc_5x5_2", 3, 48, 36, [(3, 18, (5, 5), 1, 1), (18, 18, (5, 5), 1, 1), (18, 48, (5, 5), 1, 1)]),
    ("decenc_3x3_2_g3", 3, 48, 36, [(3, 18, (3, 3), 3, 1), (18, 18, (3, 3), 3, 1), (18, 48, (3, 3), 3, 1)]),
    ("DWS_3x3", 12, 48, 36, [(12, 12, (3, 3), 12, 1), (12, 48, (1, 1), 1, 1)]),
    ("3x3_increase_2", 12, 48, 36, [(12, 24, (3, 3), 1, 1), (24, 48, (1, 1), 1, 1)]),
    ("3x3_decrease_2", 12, 48, 36, [(12, 6, (3, 3), 1, 1), (6, 48, (1, 1), 1, 1)]),
    ("skip_connect", 36, 36, 36, []),
    ("zero", 3, 48, 36, []),
]


@pytest.mark.parametrize("name, in_channels, out_channels, num_feat, expected", STRUCTURES, ids=lambda v: str(v)[:24])
def test_a_name_stands_for_its_convolutions(name, in_channels, out_channels, num_feat, expected):
    assert [tuple(spec) for spec in convolutions(name, in_channels, out_channels, num_feat)] == expected


@pytest.mark.parametrize("channels", [(12, 12, 12), (12, 24, 12), (6, 12, 24)], ids=str)
@pytest.mark.parametrize("name", [*COMMON_OPERATIONS, *FAMILIES])
def test_every_operation_keeps_the_size_and_gives_the_channels_of_its_slot(name, channels):
    in_channels, out_channels, num_feat = channels
    if (name == "skip_connect" and in_channels != out_channels) or (name == "simple_3x3_grouped_4" and in_channels % 4):
        pytest.skip("cannot stand in this slot")
    operation = quantized_operation(name, in_channels, out_channels, num_feat, bits=4)
    assert operation(torch.randn(2, in_channels, 9, 11)).shape == (2, out_channels, 9, 11)


def test_no_convolution_of_an_operation_has_a_bias_and_every_one_quantizes_its_input():
    for name in COMMON_OPERATIONS:
        for conv in quantized_operation(name, 12, 12, 12, bits=4).children():
            assert conv.bias is None
            assert conv.input_quantizer.bits == conv.weight_quantizer.bits == 4


def test_operations_one_after_another():
    operation = build_operation("conv_3x1_1x3", 3, 5, 4, conv=lambda s: nn.Conv2d(*s[:3]))
    x = torch.randn(1, 3, 9, 9)
    assert torch.equal(operation(x), operation[1](operation[0](x)))


def test_skip_connect_is_the_identity_and_zero_is_zeros():
    x = torch.randn(2, 6, 4, 5)
    assert torch.equal(quantized_operation("skip_connect", 6, 6, 6, 4)(x), x)
    assert torch.equal(quantized_operation("zero", 6, 9, 6, 4)(x), torch.zeros(2, 9, 4, 5))


@pytest.mark.parametrize(
    "misspelt, meant",
    [
        ("simpel_3x3", "simple_3x3"),
        ("simple3x3", "simple_3x3"),
        ("simple_3x3_groupd_3", "simple_3x3_grouped_3"),
        ("conv_5x1_1x3", "conv_5x1_1x5"),
        ("decenc_3x3", "decenc_3x3_2"),
        ("dws_3x3", "DWS_3x3"),
        ("3x3_increse_2", "3x3_increase_2"),
        ("skipconnect", "skip_connect"),
        ("zeros", "zero"),
    ],
)
def test_a_misspelt_name_is_told_the_nearest(misspelt, meant):
    with pytest.raises(OptionError) as caught:
        check_operation(misspelt, where="candidates: body")
    message = str(caught.value)
    assert message.startswith(f"candidates: body: unknown operation '{misspelt}', did you mean '{meant}'? Forms: ")
    assert "\n" not in message


@pytest.mark.parametrize(
    "name",
    [
        *("", "simple", "simple_3x5", "simple_0x0", "simple_3x3_d0", "simple_3x3_grouped_0", "growth0_3x3"),
        *("decenc_3x3_0", "simple_3x3 ", "simple_3x3\n", "__import__('os')", None, 3, ["zero"]),
    ],
)
def test_what_names_no_operation_is_refused(name):
    with pytest.raises(OptionError, match="unknown operation"):
        check_operation(name)


@pytest.mark.parametrize(
    "name", ["simple_4x4", "conv_2x1_1x2", "growth1_4x4", "decenc_2x2_2", "DWS_6x6", "2x2_increase_2"]
)
def test_an_even_kernel_is_refused_because_it_cannot_keep_the_size(name):
    with pytest.raises(OptionError, match=f"operation '{name}' has an even kernel. Allowed: odd kernels"):
        check_operation(name)


@pytest.mark.parametrize(
    "name, channels, complaint",
    [
        ("simple_3x3_grouped_5", (12, 12, 12), "12 channels are not divisible by 5 groups"),
        ("simple_3x3_grouped_3", (12, 16, 12), "16 channels are not divisible by 3 groups"),
        ("simple_3x3_grouped_full", (12, 6, 12), "6 channels are not divisible by 12 groups"),
        ("decenc_3x3_5", (12, 12, 12), "12 channels cannot be divided by 5"),
        ("decenc_3x3_2_g4", (12, 12, 12), "6 channels are not divisible by 4 groups"),
        ("3x3_decrease_5", (12, 12, 12), "12 channels cannot be divided by 5"),
        ("skip_connect", (12, 6, 12), "skip_connect cannot turn 12 channels into 6"),
    ],
)
def test_an_operation_that_its_channels_do_not_allow_is_refused(name, channels, complaint):
    with pytest.raises(OptionError, match=complaint):
        convolutions(name, *channels)
