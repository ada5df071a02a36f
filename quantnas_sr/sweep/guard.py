"""``python guard.py COMMAND ...``: runs a command that does not outlive whoever started this.

The starter holds the other end of the standard input. When the starter is gone, even by SIGKILL, that end closes, and
this process ends itself and everything that it has started. It is a script that imports nothing of the package, so that
it starts at once.
"""

import os
import signal
import subprocess
import sys
import threading


def end_everything() -> None:
    """End this process and its descendants: their process group, or on Windows, which has none, their tree."""
    if hasattr(os, "killpg"):
        os.killpg(0, signal.SIGKILL)
    else:
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(os.getpid())], check=False)
        os._exit(1)


def _end_with_starter() -> None:
    os.read(sys.stdin.fileno(), 1)
    end_everything()


def main() -> int:
    """Run the command; returns its exit code, or 128 + the signal that ended it."""
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    signal.signal(signal.SIGTERM, lambda *_: None)  # the command in the same group has it too, and may save first
    threading.Thread(target=_end_with_starter, daemon=True).start()
    code = child.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
