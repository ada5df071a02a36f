"""Files that anybody may have written: each is taken, or refused in one line, within its time and memory."""

import fuzz_checkpoints
import fuzz_genotypes
import fuzz_options
import pytest
from fuzzing import Case, counts_of, outcome_of

KINDS = (fuzz_genotypes.Genotypes, fuzz_checkpoints.Checkpoints, fuzz_options.Options)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("part", range(2))
def test_a_mutated_file_is_taken_or_refused_in_one_line(kind, part, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mutated = kind()
    mutated.prepare(tmp_path)
    before = set(tmp_path.rglob("*"))
    numbers = range(250 * part, 250 * (part + 1))
    cases = [Case(number, outcome_of(mutated, 0, number)) for number in numbers]
    counts = counts_of(cases)
    assert not counts["failed"], [case for case in cases if case.outcome not in ("accepted", "one line")]
    assert sum(counts.values()) == 250 and counts["accepted"] and counts["one line"]
    written = {path.name for path in tmp_path.rglob("*") if path not in before}
    assert written <= {"found.yml", "net.pth", "net.safetensors", "tried.yml"}
