"""The one reader of YAML: plain data within bounds, or one line."""

import os

import pytest
from mutations import ODD_YAML, bomb

from quantnas_sr.values import plain_yaml
from quantnas_sr.values.plain_yaml import PlainYamlError, parse_yaml, read_yaml

PLAIN = (str, int, float, bool, type(None), dict, list)


@pytest.mark.parametrize("text", [*ODD_YAML, bomb(), "a: " * 3, "[" * 100000], ids=lambda text: repr(text[:12]))
def test_odd_yaml_is_plain_data_or_one_line(text):
    try:
        assert isinstance(parse_yaml(text), PLAIN)
    except PlainYamlError as error:
        assert len(str(error).splitlines()) == 1 and len(str(error)) < 300


@pytest.mark.parametrize(
    "text, line",
    [
        ("a: !!float abc", "not what its tag says"),
        ("a:\n  b: " + "9" * 5000, "line 2: a number of 5000 digits. Allowed: at most 400"),
        ("[" * 60 + "]" * 60, "nested deeper than 50 levels"),
        (bomb(), "more than 100000 values"),
        ("a: &a [*a]", r"\*a contains itself"),
        ("a: !!python/object/apply:os.system [x]", "could not determine a constructor"),
        ("a: !!set {x}", "could not determine a constructor"),
        ("[1]: 2", "unhashable|unacceptable"),
    ],
    ids=lambda text: text[:12],
)
def test_the_line_says_what_is_wrong(text, line):
    with pytest.raises(PlainYamlError, match=line):
        parse_yaml(text)


def test_a_date_is_text_and_an_alias_is_what_it_repeats():
    assert parse_yaml("a: 2020-99-99\nb: &x [1]\nc: *x\n") == {"a": "2020-99-99", "b": [1], "c": [1]}


def test_only_files_of_some_size_are_opened(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(PlainYamlError, match="a pipe or a device"):
            read_yaml(path)
    with pytest.raises(IsADirectoryError):
        read_yaml(tmp_path)
    monkeypatch.setattr(plain_yaml, "LONGEST", 3)
    (tmp_path / "long.yml").write_text("a: 1")
    with pytest.raises(PlainYamlError, match="it has 4 bytes. Allowed: at most 3"):
        read_yaml(tmp_path / "long.yml")
