"""Options files that are no plain YAML: a run says so in one line, whoever's loader meets them first."""

import fuzz_options
import pytest
from mutations import bomb, to_yaml

from quantnas_sr.errors import OptionError, QuantNASError


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    kind = fuzz_options.Options()
    kind.prepare(tmp_path_factory.mktemp("options"))
    return kind


@pytest.mark.parametrize(
    "line, complaint",
    [
        ("more: !!int ''", "not what its tag says"),
        ("more: !!bool x", "not what its tag says"),
        ("more: !!float abc", "not what its tag says"),
        ("more: !!timestamp 2020-99-99", "not what its tag says"),
        ("more: {[1]: 2}", "unhashable"),
        ("more: " + "9" * 5000, "a number of 5000 digits"),
        ("more: " + "[" * 60 + "]" * 60, "nested deeper than 50 levels"),
        (bomb(), "more than 100000 values"),
        ("more: 2020-01-01", "more: datetime.date.* is not plain data"),
        ("more: 99999999999999999999", "larger than any number of 64 bits"),
    ],
    ids=lambda text: text[:16],
)
def test_yaml_that_is_not_plain_is_one_line(options, line, complaint, monkeypatch):
    monkeypatch.chdir(options.folder)
    (options.folder / "tried.yml").write_text(to_yaml(fuzz_options.QUANTIZED) + line + "\n")
    with pytest.raises(OptionError, match=complaint) as caught:
        options.read(True, "")
    assert "\n" not in str(caught.value)


def test_a_message_is_one_line_of_some_length_whatever_a_file_says():
    assert str(QuantNASError("a\u2028b")) == "a b"
    assert len(str(QuantNASError("x" * 10**5))) < 1300
