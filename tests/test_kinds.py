"""Kinds of option values: what they take, in which type, and the line for what they do not take."""

from typing import List, Mapping, Optional, Sequence, Tuple, Union

import pytest
import torch

from quantnas_sr.errors import OptionError
from quantnas_sr.values.kinds import FILE_NAME, MAPPING, SWITCH, TEXT, either, many, number, optional, whole, words
from quantnas_sr.values.signatures import argument_kinds, check_arguments, check_keys

TAKEN = [
    (whole(at_least=1), 50.0, 50),
    (whole(), -3, -3),
    (number(above=0), 0.5, 0.5),
    (number(at_least=0, below=1), 0, 0),
    (SWITCH, False, False),
    (words("y", "rgb"), "y", "y"),
    (many(whole(), length=2), [1.0, 2], [1, 2]),
    (optional(TEXT), None, None),
    (either(words("auto"), whole(at_least=0)), 2.0, 2),
    (FILE_NAME, "run 1.5_b", "run 1.5_b"),
]


@pytest.mark.parametrize(("kind", "value", "taken"), TAKEN, ids=lambda part: getattr(part, "allowed", str(part)))
def test_a_value_of_a_kind_comes_back_in_its_own_type(kind, value, taken):
    result = kind.checked(value, "train.key")
    assert result == taken and type(result) is type(taken)


REFUSED = [
    (whole(at_least=1), 2.5, "train.key: 2.5 is not a whole number. Allowed: a whole number of at least 1"),
    (whole(at_least=1), True, "train.key: true is not a number. Allowed: a whole number of at least 1"),
    (whole(at_most=9), 10, "train.key: 10 is not allowed. Allowed: a whole number of at most 9"),
    (number(above=0), 0, "train.key: 0 is not allowed. Allowed: a number above 0"),
    (number(), float("nan"), "train.key: nan is not a finite number. Allowed: a number"),
    (number(), "fast", "train.key: 'fast' is not a number"),
    (SWITCH, "yes", "train.key: 'yes' is not true or false"),
    (SWITCH, 1, "train.key: 1 is not true or false"),
    (MAPPING, 0, "train.key: 0 is not a mapping of keys to values"),
    (words("mean", "sum"), "maen", "train: unknown key 'maen', did you mean 'mean'? Allowed: mean, sum"),
    (optional(words("mean", "sum")), 3, "train.key: 3 is not allowed. Allowed: mean, sum, or ~"),
    (many(number(), length=2), [1], "train.key: [1] is not a list of 2. Allowed: a list of 2, each a number"),
    (TEXT, "", "train.key: '' is empty. Allowed: text"),
    (FILE_NAME, 2024, "train.key: 2024 is not text: put it in quotes. Allowed: " + FILE_NAME.allowed),
]


@pytest.mark.parametrize(("kind", "value", "line"), REFUSED, ids=[line[:40] for _, _, line in REFUSED])
def test_another_value_is_one_line_with_what_is_allowed(kind, value, line):
    with pytest.raises(OptionError) as error:
        kind.checked(value, "train.key")
    assert str(error.value) == line


@pytest.mark.parametrize("name", ["", " ", ".", "..", "a/b", "a\\b", "../x", "a\nb", "a\0b"])
def test_what_would_leave_or_replace_the_folder_of_runs_is_no_name(name):
    with pytest.raises(OptionError):
        FILE_NAME.checked(name, "name")


class Annotated:
    def __init__(
        self,
        num_feat: int,
        bits: Sequence[int] = (4, 8),
        limits: Tuple[float, float] = (0.0, 1.0),
        scale: Optional[int] = None,
        skip: Optional[List[str]] = None,
        arch: Union[str, Mapping[str, int]] = "x",
        rate: float = 0.1,
        flag: bool = True,
    ) -> None: ...


def plain(num_in_ch, upscale=4, res_scale=1, img_range=255.0, norm="bn", ema=False, depths=(6, 6), other=None): ...


WRONG_ARGUMENTS = [
    (Annotated, {"num_feat": "many"}, "network_g: num_feat: 'many' is not a number"),
    (Annotated, {"num_feat": 0}, "network_g: num_feat: 0 is not allowed"),
    (Annotated, {"num_feat": 8, "bits": 4}, "network_g: bits: 4 is not a list"),
    (Annotated, {"num_feat": 8, "limits": [1]}, "network_g: limits: [1] is not a list of 2"),
    (Annotated, {"num_feat": 8, "scale": "x"}, "network_g: scale: 'x' is not a number"),
    (Annotated, {"num_feat": 8, "skip": "conv"}, "network_g: skip: 'conv' is not a list"),
    (Annotated, {"num_feat": 8, "arch": [1]}, "network_g: arch: [1] is not allowed"),
    (Annotated, {"num_feat": 8, "rate": -1}, "network_g: rate: -1 is not allowed"),
    (Annotated, {"num_feat": 8, "flag": 1}, "network_g: flag: 1 is not true or false"),
    (Annotated, {}, "network_g: the key 'num_feat' is missing"),
    (Annotated, {"num_feat": 8, "num_fet": 8}, "network_g: unknown key 'num_fet', did you mean 'num_feat'?"),
    (plain, {"num_in_ch": 3, "upscale": 2.5}, "network_g: upscale: 2.5 is not a whole number"),
    (plain, {"num_in_ch": None}, "network_g: num_in_ch: null is not a number"),
    (plain, {"num_in_ch": 3, "img_range": "x"}, "network_g: img_range: 'x' is not allowed"),
    (plain, {"num_in_ch": 3, "ema": "no"}, "network_g: ema: 'no' is not true or false"),
    (plain, {"num_in_ch": 3, "norm": 3}, "network_g: norm: 3 is not allowed"),
]


@pytest.mark.parametrize(("function", "options", "line"), WRONG_ARGUMENTS, ids=[line for *_, line in WRONG_ARGUMENTS])
def test_an_argument_that_its_signature_does_not_take_is_one_line(function, options, line):
    with pytest.raises(OptionError) as error:
        check_arguments(function, options, "network_g", separator=": ")
    assert str(error.value).startswith(line)


def test_arguments_get_their_own_types_in_place():
    options = {"num_feat": 8.0, "bits": [4.0, 8], "rate": 1, "scale": None}
    check_arguments(Annotated, options, "network_g")
    assert options == {"num_feat": 8, "bits": [4, 8], "rate": 1, "scale": None} and type(options["num_feat"]) is int
    options = {"num_in_ch": 3, "res_scale": 0.1, "img_range": 1, "depths": [2, 2, 2], "other": {"a": 1}}
    before = dict(options)
    check_arguments(plain, options, "network_g")
    assert options == before


def test_of_a_function_with_any_keywords_only_misspelt_ones_are_refused_unless_it_is_known():
    def metric(img, crop_border, test_y_channel=False, **kwargs): ...

    options = {"img": None, "crop_border": 4, "size": 3}
    check_arguments(metric, options, "val", strict=False)
    with pytest.raises(OptionError, match="unknown key 'size'"):
        check_arguments(metric, options, "val")
    with pytest.raises(OptionError, match="'crop_boarder', did you mean 'crop_border'"):
        check_arguments(metric, {"img": None, "crop_boarder": 4}, "val", strict=False)


def test_keys_that_do_not_look_misspelt_pass_where_others_are_allowed():
    check_keys({"use_shuffle": 1, "gt_size": 2}, {"use_hflip": 0, "gt_size": 0}, "datasets.train", strict=False)
    with pytest.raises(OptionError, match="'gt_sise', did you mean 'gt_size'"):
        check_keys({"gt_sise": 1}, {"gt_size": 0}, "datasets.train", strict=False)


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.SGD, torch.optim.RMSprop, torch.optim.AdamW])
def test_the_defaults_of_torch_are_of_the_kinds_that_are_read_off_them(optimizer):
    import inspect

    kinds = argument_kinds(optimizer)
    for name, parameter in inspect.signature(optimizer).parameters.items():
        if parameter.default is not parameter.empty:
            kinds[name].checked(parameter.default, name)
