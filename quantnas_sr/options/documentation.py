"""The tables of `tables` in Markdown, for ``docs/basicsr_options.md``.

``python -m quantnas_sr.options.documentation`` prints them.
"""

from typing import Dict

from quantnas_sr.options import tables

_SECTIONS: Dict[str, tables.Table] = {
    "(outermost)": tables.RUN,
    "`path`": tables.PATH,
    "`datasets.<phase>`": tables.DATASET,
    "`datasets.<phase>.io_backend`": tables.IO_BACKEND,
    "`train`": tables.SR_TRAIN,
    "`val`": tables.VAL,
    "`logger`": tables.LOGGER,
    "`logger.wandb`": tables.WANDB,
    "`dist_params`": tables.DIST_PARAMS,
}
_NEEDED = {"": "", "both": "yes", "train": "to train", "test": "to test"}
_SET_BY_BASICSR = "set by BasicSR"


def markdown() -> str:
    """One table of all keys that BasicSR reads in a run of ours."""
    lines = ["| where | key | allowed | needed | meaning |", "|---|---|---|---|---|"]
    for place, table in _SECTIONS.items():
        shown = {name: key for name, key in table.items() if key.meaning != _SET_BY_BASICSR}
        for number, (name, key) in enumerate(shown.items()):
            cells = (place if number == 0 else "", f"`{name}`", key.kind.allowed, _needed(table, name), key.meaning)
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _needed(table: tables.Table, name: str) -> str:
    if table is tables.DATASET and name in (*tables.LOADER_KEYS, *tables.PATCH_KEYS):
        return "to train"
    return _NEEDED[table[name].required]


if __name__ == "__main__":
    print(markdown())
