"""The progress of a job of a sweep, and its file: written by this package, and read as if by anybody."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

from quantnas_sr.errors import OptionError
from quantnas_sr.system.files import written_aside
from quantnas_sr.values.kinds import MAPPING, SWITCH, TEXT, many, number, words
from quantnas_sr.values.signatures import check_keys

STAGES = ("search", "train", "test")

#: {test set: {metric: value}}
Metrics = Dict[str, Dict[str, float]]

_STAGE = {"started": SWITCH, "done": SWITCH, "seconds": number(at_least=0)}
_KEYS = {"stages": MAPPING, "metrics": MAPPING, "failed": None}


@dataclass
class Stage:
    """The progress of a stage. After an interruption ``started`` is still true, and the run resumes its checkpoint."""

    started: bool = False
    done: bool = False
    seconds: float = 0.0


@dataclass
class State:
    """The progress of a job; ``failed`` is the stage that failed and the reason, if the job was left out."""

    stages: Dict[str, Stage] = field(default_factory=lambda: {name: Stage() for name in STAGES})
    metrics: Metrics = field(default_factory=dict)
    failed: Optional[List[str]] = None


def read_state(path: Path) -> State:
    """The state in a file.

    Raises:
        OptionError: it is not that of a job; one line.
    """
    try:
        return _state_of(json.loads(path.read_text(encoding="utf-8")))
    except (OptionError, OSError, ValueError, RecursionError) as error:
        why = str(error) if isinstance(error, OptionError) else "it is not JSON"
        raise OptionError(f"{path}: not the state of a job ({why}); remove its folder to start it anew") from None


def write_state(path: Path, state: State) -> None:
    """Write a state, in one step."""
    with written_aside(path) as aside:
        aside.write_text(json.dumps(asdict(state), indent=1), encoding="utf-8")


def _state_of(data: Any) -> State:
    _check_all(data, _KEYS, "the state")
    _check_all(data["stages"], dict.fromkeys(STAGES), "stages")
    stages = {}
    for name in STAGES:
        _check_all(data["stages"][name], _STAGE, f"stages.{name}")
        values = data["stages"][name]
        stages[name] = Stage(**{key: kind.checked(values[key], f"stages.{name}.{key}") for key, kind in _STAGE.items()})
    failed = data["failed"]
    if failed is not None:
        many(TEXT, length=2).checked(failed, "failed")
        words(*STAGES).checked(failed[0], "failed.0")
    return State(stages, metrics_of(data["metrics"], "metrics"), failed)


def _check_all(data: Any, keys: Mapping[str, Any], where: str) -> None:
    """Exactly these keys."""
    check_keys(MAPPING.checked(data, where), keys, where)
    for key in keys:
        if key not in data:
            raise OptionError(f"{where}: the key {key!r} is missing")


def metrics_of(data: Any, where: str) -> Metrics:
    """Plain data as values by metric by test set; they may be infinite, as the PSNR of equal images is.

    Raises:
        OptionError: they are not.
    """
    for name, values in MAPPING.checked(data, where).items():
        for metric, value in MAPPING.checked(values, f"{where}.{name}").items():
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise OptionError(f"{where}.{name}.{metric}: {str(value)[:40]!r} is not a number")
    return data
