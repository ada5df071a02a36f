"""Downloads that survive a broken connection: what arrived is kept in NAME.part and continued by HTTP Range."""

import re
import time
from pathlib import Path
from typing import Dict, Optional

import requests
from tqdm import tqdm

from quantnas_sr.errors import DataError

CHUNK = 1 << 16
TIMEOUT = (20, 60)
LONGEST_PAUSE = 30.0
BUSY = (408, 425, 429)


class _TryAgainError(Exception):
    """A failure after which another attempt may succeed."""


def download(url: str, target: Path, attempts: int = 6, pause: float = 1.0) -> Path:
    """Fetch ``url`` to ``target``, unless ``target`` is there already, and return ``target``.

    A transfer that breaks off goes on where it stopped, in this call or the next. After ``attempts`` failures in a
    row without a new byte, DataError is raised and the partial file stays. ``pause``: seconds before the second
    attempt, doubled after each failure.
    """
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _Part(target)
    failures = 0
    while True:
        size = part.size()
        try:
            _transfer(url, part)
            return part.complete()
        except _PASSING as error:
            failures = 1 if part.size() > size else failures + 1
            if failures >= attempts:
                raise DataError(_gave_up(url, part, error)) from error
            time.sleep(min(pause * 2 ** (failures - 1), LONGEST_PAUSE))
        except requests.RequestException as error:
            raise DataError(f"{url}: cannot be downloaded: {error}") from error
        except OSError as error:
            raise DataError(f"{part.path}: cannot be written: {error.strerror or error}") from error


_PASSING = (
    _TryAgainError,
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
)


class _Part:
    """The partial file, and beside it the version (ETag or date) of the file on the server that it belongs to."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(target.name + ".part")
        self._mark = target.with_name(target.name + ".part.version")

    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def request_headers(self) -> Dict[str, str]:
        """Ask for the rest, or for all of it if the file on the server has changed since."""
        headers = {"Accept-Encoding": "identity"}
        if self.size():
            headers["Range"] = f"bytes={self.size()}-"
            if self._mark.exists():
                headers["If-Range"] = self._mark.read_text(encoding="latin-1")
        return headers

    def restart(self, headers: "requests.structures.CaseInsensitiveDict[str]") -> None:
        """Discard what arrived so far."""
        self.path.unlink(missing_ok=True)
        self._mark.unlink(missing_ok=True)
        etag = headers.get("ETag", "")
        mark = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")
        if mark:
            self._mark.write_text(mark, encoding="latin-1")

    def complete(self) -> Path:
        self._mark.unlink(missing_ok=True)
        return self.path.replace(self.target)


def _transfer(url: str, part: _Part) -> None:
    """One request: all of the file, or what is missing of it. Raises _TryAgainError when less arrives."""
    with requests.get(url, headers=part.request_headers(), stream=True, timeout=TIMEOUT) as response:
        if response.status_code == 416:
            return _check_complete(response, part)
        if response.status_code >= 500 or response.status_code in BUSY:
            raise _TryAgainError(f"the server says {response.status_code} {response.reason}")
        if response.status_code not in (200, 206):
            raise DataError(f"{url}: the server says {response.status_code} {response.reason}")
        if not _continues(response, part):
            part.restart(response.headers)
        expected = _expected_size(response, part)
        _append(response, part, expected)
    if expected is not None and part.size() != expected:
        raise _TryAgainError(f"{part.size()} bytes arrived of {expected}")
    return None


def _check_complete(response: requests.Response, part: _Part) -> None:
    """Handle "Range Not Satisfiable": the file is complete, or the partial file belongs to another version."""
    if response.headers.get("Content-Range", "") != f"bytes */{part.size()}":
        part.restart(requests.structures.CaseInsensitiveDict())
        raise _TryAgainError("the partial file does not fit to the server's")


def _continues(response: requests.Response, part: _Part) -> bool:
    """Whether the answer starts where the partial file ends (a server may send everything again)."""
    if response.status_code == 200:
        return False
    start = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if start is None or int(start.group(1)) != part.size():
        part.restart(requests.structures.CaseInsensitiveDict())
        raise _TryAgainError("the server sent another part than the one asked for")
    return True


def _expected_size(response: requests.Response, part: _Part) -> Optional[int]:
    length = response.headers.get("Content-Length")
    return None if length is None else part.size() + int(length)


def _append(response: requests.Response, part: _Part, expected: Optional[int]) -> None:
    progress = tqdm(total=expected, initial=part.size(), desc=part.target.name, unit="B", unit_scale=True)
    with part.path.open("ab") as file, progress:
        for chunk in response.iter_content(CHUNK):
            file.write(chunk)
            progress.update(len(chunk))


def _gave_up(url: str, part: _Part, error: Exception) -> str:
    if isinstance(error, requests.Timeout):
        reason = "the server does not answer in time"
    elif isinstance(error, requests.RequestException):
        reason = "the connection broke off" if part.size() else "no connection"
    else:
        reason = str(error)
    kept = f"; {part.size()} bytes are kept in {part.path}, the same command goes on from there" if part.size() else ""
    return f"{url}: {reason}{kept}"
