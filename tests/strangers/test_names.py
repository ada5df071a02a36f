"""Names that options give: they stay inside, and what is there already is never moved away unless it is a run's."""

import copy

import fuzz_options
import pytest

from quantnas_sr.errors import OptionError, QuantNASError
from quantnas_sr.options.checks.folders import check_folders
from quantnas_sr.options.checks.shape import check_shape
from quantnas_sr.values.kinds import FILE_NAME


@pytest.mark.parametrize(
    "name", ["../../x", "..", ".", ".x", "/tmp/x", "a/b", "a\\b", "a\nb", "a\0b", "x" * 151, "\ud800", ""]
)
def test_a_name_is_plain(name):
    with pytest.raises(OptionError, match="name"):
        FILE_NAME.checked(name, "name")


def test_runs_and_test_sets_have_plain_names():
    for options, place in ((fuzz_options.SEARCH, ()), (fuzz_options.TEST, ("datasets", "test"))):
        changed = copy.deepcopy(options)
        holder = changed
        for key in place:
            holder = holder[key]
        holder["name"] = "../../x"
        with pytest.raises(OptionError, match="'../../x' is not a name for a file or folder"):
            check_shape(changed, options is not fuzz_options.TEST)


def opt(root, is_train=True):
    kind = "experiments" if is_train else "results"
    path = {f"{kind}_root": str(root / kind / "mydocs")}
    return {"name": "mydocs", "is_train": is_train, "path": path, "logger": {"use_tb_logger": True}}


@pytest.mark.parametrize("folder", ["experiments/mydocs", "tb_logger/mydocs", "results/mydocs"])
def test_a_folder_that_is_of_no_run_is_never_moved_away(folder, tmp_path):
    options = opt(tmp_path, is_train=not folder.startswith("results"))
    check_folders(options)
    (tmp_path / folder).mkdir(parents=True)
    check_folders(options)  # an empty one is no loss
    (tmp_path / folder / "letter.txt").write_text("dear all")
    with pytest.raises(OptionError, match="which is not the folder of a run, and would be moved away"):
        check_folders(options)
    left = {"e": "training_states", "t": "events.out.tfevents.1", "r": "visualization"}[folder[0]]
    (tmp_path / folder / left).mkdir()
    check_folders(options)


def test_a_file_in_the_place_of_a_run_is_not_moved_either(tmp_path):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments/mydocs").write_text("dear all")
    with pytest.raises(OptionError, match="not the folder of a run"):
        check_folders(opt(tmp_path))


@pytest.mark.parametrize(
    "place, value",
    [
        ("train.pixel_opt.loss_weight", float("nan")),
        ("train.hardware_opt", 0),
        ("train.alpha_warmup", None),
        ("datasets.train.alpha_fraction", 1.5),
        ("scale", 10**400),
    ],
)
def test_values_that_no_run_can_use_are_refused_before_anything_else(place, value):
    options = copy.deepcopy(fuzz_options.SEARCH)
    *parents, last = place.split(".")
    holder = options
    for key in parents:
        holder = holder[key]
    holder[last] = value
    with pytest.raises(OptionError, match=last):
        check_shape(options, True)


@pytest.mark.parametrize("key, value", [("fp_warmup", None), ("step_lr", 1e30), ("calibration_iter", -1)])
def test_values_that_no_training_can_use_are_refused_too(key, value):
    options = copy.deepcopy(fuzz_options.QUANTIZED)
    options["train"][key] = value
    with pytest.raises(OptionError, match=key):
        check_shape(options, True)


def misspellings(word):
    """Every way to leave out, double or exchange one letter."""
    yield from (word[:i] + word[i + 1 :] for i in range(1, len(word)))
    yield from (word[:i] + word[i] + word[i:] for i in range(len(word)))
    yield from (word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(len(word) - 1))


@pytest.mark.parametrize("section", ["", "path", "train", "logger", "datasets.train", "datasets.val", "val"])
def test_every_misspelling_of_every_key_is_refused(section):
    accepted = []
    for key in within(fuzz_options.SEARCH, section):
        for wrong in {*misspellings(key)} - {*within(fuzz_options.SEARCH, section)}:
            changed = copy.deepcopy(fuzz_options.SEARCH)
            holder = within(changed, section)
            holder[wrong] = holder.pop(key)
            try:
                check_shape(changed, True)
                accepted.append(f"{key} as {wrong}")
            except QuantNASError as error:
                assert "\n" not in str(error)
    assert not accepted


def within(options, section):
    for key in section.split(".") if section else ():
        options = options[key]
    return options
