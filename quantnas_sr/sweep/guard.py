"""``python guard.py COMMAND ...``: runs a command that does not outlive whoever started this.

The starter holds the other end of the standard input. When it is gone, even by SIGKILL, that end closes and the whole
process group is killed. Started as a script, so that it costs no import of the package.
"""

import os
import signal
import subprocess
import sys
import threading


def _end_with_starter() -> None:
    os.read(sys.stdin.fileno(), 1)
    os.killpg(0, signal.SIGKILL)


def main() -> int:
    """Run the command; returns its exit code, or 128 + the signal that ended it."""
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    threading.Thread(target=_end_with_starter, daemon=True).start()
    code = child.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
