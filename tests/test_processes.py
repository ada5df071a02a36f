"""Why a process ended, in one line, on every system."""

import signal

import pytest

from quantnas_sr.system.processes import Outcome, reason_of


@pytest.mark.parametrize(
    "code, output, said",
    [
        (1, "", "exit code 1"),
        (1, "first\nlast\n", "last"),
        (1, "ValueError: no such thing\nclosing files\n", "ValueError: no such thing"),
        (128 + signal.SIGTERM, "Saving models\n", "ended by SIGTERM"),
        (0xC0000005, "loading\n", "loading"),  # an access violation on Windows
        (0xC0000005, "", "exit code 3221225477"),
        (255, "", "exit code 255"),
    ],
)
def test_a_failed_process_says_why(code, output, said):
    assert reason_of(Outcome(code, output)) == said


def test_a_process_that_was_killed_may_have_been_out_of_memory():
    if hasattr(signal, "SIGKILL"):
        assert reason_of(Outcome(137, "Saving models\n")) == "ended by SIGKILL (out of memory?)"
