"""What a process that has ended says about why it ended."""

import re
import signal
from typing import NamedTuple, Optional

_ERROR = re.compile(r"(basicsr (train|test): |[\w.]*(Error|Exception|Interrupt)\b)")


class Outcome(NamedTuple):
    """Exit code of a command, and what it printed; 128 + n stands for signal n, as in shells."""

    code: int
    output: str


def reason_of(outcome: Outcome) -> str:
    """The last line of a failed command that names an error, or its last one, or the signal that ended it.

    >>> reason_of(Outcome(1, "...\\nbasicsr train: name: missing\\n"))
    'basicsr train: name: missing'
    >>> reason_of(Outcome(143, "Saving models\\n"))
    'ended by SIGTERM'
    """
    ended_by = _signal(outcome.code - 128)
    if ended_by:
        return f"ended by {ended_by}" + (" (out of memory?)" if ended_by == "SIGKILL" else "")
    lines = [line.strip() for line in outcome.output.splitlines() if line.strip()]
    errors = [line for line in lines if _ERROR.match(line)]
    return (errors or lines or [f"exit code {outcome.code}"])[-1]


def _signal(number: int) -> Optional[str]:
    """The name of a signal; None for a number that is none, such as one of the large exit codes of Windows."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return None
