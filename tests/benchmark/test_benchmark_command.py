"""`quantnas benchmark`: one real run of a tiny network, the turns that are taken, and what is refused."""

import json
import sys
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import pytest
import torch
from export_equality import settled
from networks import saved

from quantnas_sr import cli
from quantnas_sr.archs.quantized_arch import QuantizedArch
from quantnas_sr.benchmark import command as benchmark
from quantnas_sr.benchmark import timing
from quantnas_sr.checkpoints import load_network
from quantnas_sr.cost import count
from quantnas_sr.deploy.packages import RUNTIMES, installed_runtimes
from quantnas_sr.errors import DataError
from quantnas_sr.export.kept import Exported
from quantnas_sr.search_space import Choice, DerivedNetwork, Genotype, get_search_space

pytest.importorskip("matplotlib")

HEAD = [
    *("input", "network", "ADQ", "theory: GMACs", "theory: GBitOps", "theory: file, kB"),
    *("runtime", "measured: ms", "measured: frames/s", "measured: peak, MB", "measured: times faster than float"),
]


def run(*arguments):
    return cli.main(["benchmark", *map(str, arguments)])


def table(text):
    """Column name -> cell, of every row."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1, "the columns stand under each other"
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert head == HEAD
    return [dict(zip(head, row)) for row in rows]


@pytest.fixture(scope="module")
def adq(tmp_path_factory):
    """A checkpoint with ADQ, of 4 and 8 bits."""
    slots = get_search_space("basic").slots(2, 6, 1)
    choices = {name: Choice("simple_3x3", 4 if name == "upsample" else 8) for name in slots}
    network = settled(DerivedNetwork(Genotype("basic", 2, 6, 1, "adq", choices)))
    return saved(network, tmp_path_factory.mktemp("adq") / "net.pth")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A checkpoint without ADQ."""
    network = settled(QuantizedArch({"type": "ESPCN", "upscale": 2}, bits=8))
    return saved(network, tmp_path_factory.mktemp("plain") / "net.pth")


@pytest.fixture(scope="module")
def real(adq, tmp_path_factory):
    """The folder of a real run, with one form of ADQ and in one runtime: every process takes seconds to start."""
    output = tmp_path_factory.mktemp("real") / "new" / "folder"
    command = [adq, "--sizes", "24x16", "--threads", 1, "--repeats", 3, "--output", output]
    assert run(*command, "--adq", "static", "--outputs", "float", "--runtimes", installed_runtimes()[0]) == 0
    return output


def test_the_table_has_the_float_twin_and_the_integer_network(real):
    rows = table((real / "benchmark.md").read_text())
    assert [(row["network"], row["ADQ"]) for row in rows] == [
        ("float baseline", "static"),
        ("integer, 4/8 bits", "static"),
    ]
    assert {row["input"] for row in rows} == {"24x16"}
    assert {row["runtime"] for row in rows} == {installed_runtimes()[0]}
    for row in rows:
        assert float(row["measured: ms"]) > 0 and float(row["measured: frames/s"]) > 0
        assert (row["measured: times faster than float"] == "") == (row["network"] == "float baseline")


def test_theory_is_that_of_the_size_and_the_twin_counts_at_32_bits(real, adq):
    content = json.loads((real / "benchmark.json").read_text())
    cost = count(load_network(adq), (16, 24))
    for row in content["rows"]:
        theory = row["theory"]
        assert (row["width"], row["height"]) == (24, 16) and theory["macs"] == cost.macs
        expected = 1024 * cost.macs if row["network"] == "float" else cost.bitops
        assert theory["bitops"] == expected
        assert theory["file_bytes"] == (real / row["file"]).stat().st_size


def test_the_numbers_come_from_timings_that_are_kept(real):
    content = json.loads((real / "benchmark.json").read_text())
    assert content["machine"]["threads"] == 1 and content["machine"]["processor"]
    assert content["machine"][installed_runtimes()[0]]
    for twin, integer in zip(content["rows"][::2], content["rows"][1::2]):
        for row in (twin, integer):
            measured = row["measured"]
            assert len(measured["seconds"]) == 3
            assert measured["ms"] == pytest.approx(1e3 * median(measured["seconds"]))
            # torch alone, which the process imports too, has more
            assert measured["peak_bytes"] is None or 1e6 < measured["peak_bytes"] < 200e6
        ratio = twin["measured"]["ms"] / integer["measured"]["ms"]
        assert integer["measured"]["times_faster_than_float"] == pytest.approx(ratio)
        assert twin["measured"]["times_faster_than_float"] is None


def test_the_plot_is_a_picture_and_nothing_else_is_left(real):
    import cv2

    assert min(cv2.imread(str(real / "benchmark.png")).shape[:2]) > 300
    files = {"float_static.onnx", "integer_static.onnx", "benchmark.md", "benchmark.json", "benchmark.png"}
    assert {path.name for path in real.iterdir()} == files


@pytest.fixture
def turns(monkeypatch):
    """The turns that were taken, in order; nothing is really timed."""
    taken = []

    @contextmanager
    def fake(path, runtime, threads, size):
        assert threads == 2
        seconds = 0.003 if path.stem.startswith("float") else 0.001

        def turn(runs):
            taken.append((size, runtime, path.stem, runs))
            return timing.Turn([seconds] * runs, None)

        yield turn

    monkeypatch.setattr(timing, "timed_process", fake)
    return taken


def test_float_twin_and_integer_network_take_turns(plain, turns, tmp_path, capsys):
    sizes = ["20x10", "10x20", "20x10"]
    only = ["--outputs", "float"]
    assert run(plain, "--threads", 2, "--repeats", 7, "--sizes", *sizes, *only, "--output", tmp_path) == 0
    order = [("float", 3), ("integer", 3), ("integer", 2), ("float", 2), ("float", 2), ("integer", 2)]
    each = [(size, runtime) for size in ((20, 10), (10, 20)) for runtime in installed_runtimes()]
    assert turns == [(*place, name, runs) for place in each for name, runs in order]
    printed = capsys.readouterr().out
    rows = table(printed)
    assert rows == table((tmp_path / "benchmark.md").read_text()) and f"wrote {tmp_path}" in printed
    assert "threads 2" in printed and all(f", {runtime} " in printed for runtime in installed_runtimes())
    assert len(rows) == 2 * len(each) and {row["ADQ"] for row in rows} == {"none"}
    for row in rows[1::2]:
        assert row["measured: ms"] == "1.00" and row["measured: frames/s"] == "1000.0"
        assert row["measured: peak, MB"] == "unknown" and row["measured: times faster than float"] == "3.00"


def test_every_form_of_adq_is_compared_with_the_float_twin_of_that_form(adq, turns, tmp_path, monkeypatch):
    def export(weights, output, adq, quantized, outputs, io, command):
        name = "integer_int8" if outputs == "int8" else "integer" if quantized else "float"
        assert Path(output).stem == f"{name}_{adq}"
        return Exported(Path(output), [], 8, 1000)

    monkeypatch.setattr(benchmark, "export", export)
    assert run(adq, "--threads", 2, "--repeats", 1, "--sizes", "8x8", "--output", tmp_path) == 0
    files = [f"{network}_{form}" for form in ("dynamic", "static") for network in ("float", "integer", "integer_int8")]
    assert [name for _, _, name, _ in turns] == files * len(installed_runtimes())
    rows = table((tmp_path / "benchmark.md").read_text())
    assert [row["ADQ"] for row in rows] == [*3 * ["dynamic"], *3 * ["static"]] * len(installed_runtimes())


def test_litert_has_files_of_its_own(turns, tmp_path, capsys):
    pytest.importorskip("ai_edge_litert")
    slots = get_search_space("plain").slots(2, 6, 1)
    choices = {name: Choice("simple_3x3", 8) for name in slots}
    network = saved(settled(DerivedNetwork(Genotype("plain", 2, 6, 1, "none", choices))), tmp_path / "net.pth")
    runtimes = ["litert", "litert_builtin", installed_runtimes()[0]]
    output = ["--repeats", 1, "--outputs", "float", "--output", tmp_path / "out"]
    assert run(network, "--threads", 2, "--sizes", "8x8", "--runtimes", *runtimes, *output) == 0
    each = [
        (runtime, names)
        for runtime, names in zip(runtimes, [("float", "integer_int8_uint8")] * 2 + [("float", "integer")])
    ]
    assert [(runtime, name) for _, runtime, name, _ in turns] == [(r, name) for r, names in each for name in names]
    rows = json.loads((tmp_path / "out/benchmark.json").read_text())["rows"]
    assert [row["file"] for row in rows[:2]] == ["float.tflite", "integer_int8_uint8.tflite"]
    assert rows[0]["theory"]["file_bytes"] > rows[1]["theory"]["file_bytes"]
    assert "litert 2." in capsys.readouterr().out


def test_files_of_bytes_are_compared_with_the_same_float_twin(plain, turns, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "export", lambda weights, output, **options: Exported(Path(output), [], 8, 1000))
    command = [plain, "--threads", 2, "--repeats", 1, "--sizes", "8x8", "--output", tmp_path]
    assert run(*command, "--outputs", "float", "--io", "float", "uint8") == 0
    assert [name for _, _, name, _ in turns] == ["float", "integer", "integer_uint8"] * len(installed_runtimes())
    rows = table((tmp_path / "benchmark.md").read_text())
    assert [row["network"] for row in rows[:3]] == [
        "float baseline",
        "integer, 8 bits",
        "integer, 8 bits, uint8 images",
    ]
    assert {row["io"] for row in json.loads((tmp_path / "benchmark.json").read_text())["rows"]} == {"float", "uint8"}


# --- what is refused


def complaint(capsys, *arguments):
    assert run(*arguments) == 1
    said = capsys.readouterr().err.strip()
    assert "\n" not in said and said.startswith("quantnas: ")
    return said


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--sizes", "320"], "--sizes 320: not a size. Allowed: WIDTHxHEIGHT in pixels, such as 320x180"),
        (["--sizes", "32x18", "0x5"], "--sizes 0x5: not a size"),
        (["--sizes", "4x-5"], "--sizes 4x-5: not a size"),
        (["--runtimes", "openvinno"], "--runtimes: unknown runtime 'openvinno', did you mean 'openvino'?"),
        (["--adq", "statik"], "--adq: unknown form 'statik', did you mean 'static'? Allowed: dynamic, static"),
        (["--outputs", "int4"], "--outputs: unknown form 'int4', did you mean 'int8'? Allowed: float, int8"),
        (["--io", "unit8"], "--io: unknown form 'unit8', did you mean 'uint8'? Allowed: float, uint8"),
        (["--threads", "0"], "--threads 0: not a positive number"),
        (["--repeats", "-1"], "--repeats -1: not a positive number"),
        (["--adq", "static"], "net.pth has no ADQ or AdaDM"),
    ],
    ids=str,
)
def test_an_argument_that_cannot_be_used_is_one_line(arguments, said, plain, tmp_path, capsys):
    assert said in complaint(capsys, plain, *arguments, "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_bad_checkpoint_is_one_line(tmp_path, capsys):
    output = ["--output", tmp_path / "out"]
    assert "absent.pth" in complaint(capsys, tmp_path / "absent.pth", *output)
    assert "not a checkpoint" in complaint(capsys, __file__, *output)
    torch.save({"params": {"weight": torch.zeros(3)}}, tmp_path / "other.pth")
    assert "carries no genotype" in complaint(capsys, tmp_path / "other.pth", *output)
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file_stays_as_it_is(plain, tmp_path, capsys):
    (tmp_path / "out").write_text("mine")
    assert "out: is a file. Allowed: a folder" in complaint(capsys, plain, "--output", tmp_path / "out")
    assert "cannot be written" in complaint(capsys, plain, "--output", tmp_path / "out" / "deeper")
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_runtime_that_is_not_installed_is_named_with_its_extra(runtime, plain, tmp_path, capsys, monkeypatch):
    (other,) = set(RUNTIMES) - {runtime}
    monkeypatch.setattr(benchmark, "installed_runtimes", lambda: [other])
    said = complaint(capsys, plain, "--runtimes", runtime, "--output", tmp_path / "out")
    assert f"--runtimes {runtime} needs {runtime}: pip install 'quantnas_sr[export]'" in said


def test_matplotlib_that_is_missing_is_named_before_anything_is_measured(plain, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    said = complaint(capsys, plain, "--output", tmp_path / "out")
    assert "the plot of a benchmark needs matplotlib: pip install 'quantnas_sr[report]'" in said


@pytest.mark.parametrize(
    "script, said",
    [
        ("kill -9 $$", "ended by SIGKILL (out of memory?)"),
        ("echo 'RuntimeError: no such kernel' >&2; exit 1", "RuntimeError: no such kernel"),
        ("""read runs; echo '{"error": "not enough memory"}'; read more""", "not enough memory"),
    ],
)
def test_a_process_that_cannot_go_on_says_why(script, said, tmp_path, monkeypatch):
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(timing.sys, "executable", str(program))
    with timing.timed_process("net.onnx", "openvino", 1, (8, 6)) as turn, pytest.raises(DataError) as error:
        turn(1)
    assert str(error.value) == f"net.onnx in openvino at 8x6: {said}"


def test_what_the_runtime_cannot_open_is_one_line(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"no network")
    with timing.timed_process(tmp_path / "net.onnx", "onnxruntime", 1, (8, 6)) as turn:
        with pytest.raises(DataError, match="ONNX Runtime cannot read it") as error:
            turn(1)
        assert "\n" not in str(error.value)
