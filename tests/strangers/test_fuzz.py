"""Files that anybody may have written: each is taken, or refused in one line, within its time and memory."""

import fuzz_checkpoints
import fuzz_genotypes
import fuzz_options
import pytest
from fuzzing import Outcomes, run_here

KINDS = (fuzz_genotypes.Genotypes, fuzz_checkpoints.Checkpoints, fuzz_options.Options)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("part", range(2))
def test_a_mutated_file_is_taken_or_refused_in_one_line(kind, part, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mutated, outcomes = kind(), Outcomes()
    mutated.prepare(tmp_path)
    before = set(tmp_path.rglob("*"))
    run_here(mutated, range(250 * part, 250 * (part + 1)), seed=0, outcomes=outcomes)
    assert not outcomes.failures
    assert sum(outcomes.counts.values()) == 250 and outcomes.counts["accepted"] and outcomes.counts["one line"]
    written = {path.name for path in tmp_path.rglob("*") if path not in before}
    assert written <= {"found.yml", "net.pth", "net.safetensors", "tried.yml"}
