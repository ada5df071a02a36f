"""Seeded mutations of data, of text and of bytes: what a broken or a hostile file has in place of the right thing."""

import copy
from random import Random
from typing import Any, List, Tuple

import yaml

_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

#: Values of every kind, among them the ones that overflow, that hang a loop, and that name other files.
ODD_VALUES: Tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 4, 7, 2.5, -0.0, 1e30, -1e300, 2**31, 2**63, 10**400),
    *(float("nan"), float("inf"), "", " ", "a", "8", "1e9", "1e400", "nan", "~", "../x", "/etc/hostname", "x" * 5000),
    *("\0", "\n", "é\u2028\U0001f600", "\ud800", "<img src=x onerror=alert(1)>", "{}", "{0.__class__}", "%s", "quick"),
    *([], [1], [[]], ["lsq"], [None], [1, 2], [32, 32], [8] * 200, {}, {"a": 1}, {"type": "RFDN"}, {"": None}),
    *(24000, 65536, 999999, 2147483648, "simple_999999x999999", "growth99999_3x3", "simple_3x3_d9999", "decenc_3x3_99"),
    *("QuantizedArch", "QuantNASNetwork", "SpyNet", "VGGFeatureExtractor", "SpandrelArch", "adq", "none", "hwgq"),
)
#: Lines that other programs read as more than plain data, or cannot read.
ODD_YAML: Tuple[str, ...] = (
    *("!!float abc", "!!int ''", "!!bool x", "!!timestamp x", "2020-99-99", "2020-01-01", "9" * 5000, "0x" + "f" * 900),
    *("[" * 2000, "[" * 2000 + "]" * 2000, "{a: " * 900, "- " * 900, "? " * 500, "1:" * 900 + "1", "!!binary '='"),
    *("!!python/object/apply:os.system [echo]", "!!python/name:os.system", "!!set {a, b}", "!!omap [a: 1]", "&a [*a]"),
    *("*nowhere", "<<: 1", "<<: *x", "{{}: 2}", "=", "!", "!!null x", "'", '"', "|", ">", "@", "`", "%YAML 9"),
    "{[1]: 2}",
    *("---", "...", "\t", "- a", "a: b: c", "? a", ".nan", ".inf", "1e30", "2147483648", "24000", "!!str", "!<x> y"),
    "&a [&b [x,x,x,x,x,x,x,x,x], *b, *b, *b, *b, *b, *b, *b, *b, *b]",
)


def bomb(levels: int = 9, width: int = 9) -> str:
    """YAML whose aliases say ``width ** levels`` words in a few lines."""
    lines = ["a0: &a0 [x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width)}]" for i in range(1, levels + 1)]
    return "\n".join(lines) + "\n"


def to_yaml(data: Any) -> str:
    """Data as the text of a file."""
    try:
        return yaml.dump(data, Dumper=_DUMPER, sort_keys=False)
    except UnicodeEncodeError:  # half a character, which only the slower one writes
        return yaml.safe_dump(data, sort_keys=False)


def from_yaml(text: str) -> Any:
    """What `to_yaml` wrote."""
    return yaml.load(text, Loader=_LOADER)


def places(data: Any) -> List[Tuple[Any, Any]]:
    """Every mapping or list in nested data, with every key or index of it."""
    entries = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    found: List[Tuple[Any, Any]] = []
    for key, value in entries:
        found += [(data, key), *places(value)]
    return found


def misspelt(rng: Random, word: str) -> str:
    """A word with one letter left out, doubled, changed, or in the wrong place."""
    if len(word) < 2:
        return word + "x"
    i = rng.randrange(len(word) - 1)
    return rng.choice(
        (
            word[:i] + word[i + 1 :],
            word[:i] + word[i] + word[i:],
            word[:i] + rng.choice("aeiou_7") + word[i + 1 :],
            word[:i] + word[i + 1] + word[i] + word[i + 2 :],
        )
    )


def odd_value(rng: Random, data: Any = None) -> Any:
    """Something odd; now and then a part of the data itself, or the odd thing deep inside lists."""
    found = places(data)
    chance = rng.random()
    if chance < 0.15 and found:
        holder, key = rng.choice(found)
        return copy.deepcopy(holder[key])
    value = copy.deepcopy(rng.choice(ODD_VALUES))
    if chance < 0.2:
        for _ in range(rng.choice((1, 5, 60, 120))):
            value = [value] if rng.random() < 0.5 else {"a": value}
    return value


def mutated(rng: Random, data: Any, most: int = 3) -> Any:
    """Nested data with one to ``most`` values changed, left out, added, exchanged or misspelt."""
    data = copy.deepcopy(data)
    for _ in range(rng.randint(1, most)):
        found = places(data)
        if not found:
            return odd_value(rng)
        holder, key = rng.choice(found)
        _mutate(rng, holder, key, data, found)
    return odd_value(rng, data) if rng.random() < 0.01 else data


def _mutate(rng: Random, holder: Any, key: Any, data: Any, found: List[Tuple[Any, Any]]) -> None:
    chance = rng.random()
    if chance < 0.55:
        holder[key] = odd_value(rng, data)
    elif chance < 0.67:
        del holder[key]
    elif chance < 0.8 and isinstance(holder, dict):
        holder[misspelt(rng, str(key))] = holder.pop(key)
    elif chance < 0.88 and isinstance(holder, dict):
        holder[rng.choice(("x", "origin", "type", 5, "", "a b", misspelt(rng, str(key))))] = odd_value(rng, data)
    elif chance < 0.94:
        other, place = rng.choice(found)
        holder[key], other[place] = copy.deepcopy(other[place]), copy.deepcopy(holder[key])
    elif isinstance(holder[key], (int, float)) and not isinstance(holder[key], bool):
        value = holder[key]
        holder[key] = rng.choice((value + 1, -value, value * 1000, value // 7, str(value)))
    else:
        holder[key] = [holder[key]]


def mutated_text(rng: Random, text: str, most: int = 3) -> str:
    """YAML or JSON whose lines and values are changed, moved, doubled or replaced by what no reader expects."""
    for _ in range(rng.randint(1, most)):
        lines = text.splitlines() or [""]
        i = rng.randrange(len(lines))
        chance = rng.random()
        if chance < 0.45:
            head, colon, _ = lines[i].partition(":")
            lines[i] = f"{head}{colon} {rng.choice(ODD_YAML)}" if colon else rng.choice(ODD_YAML)
        elif chance < 0.55:
            lines.insert(i, rng.choice(ODD_YAML))
        elif chance < 0.63:
            lines.insert(i, lines[rng.randrange(len(lines))])
        elif chance < 0.71:
            del lines[i]
        elif chance < 0.8:
            lines[i] = misspelt(rng, lines[i])
        elif chance < 0.85:
            lines[i] = " " * rng.randint(1, 4) + lines[i]
        elif chance < 0.87:
            lines[:0] = bomb(rng.choice((3, 6, 9))).splitlines()
        else:
            j = rng.randrange(len(lines[i]) + 1)
            character = rng.choice("{}[]:,&*!|>'\"%@`#-?\0\t \x85\ufeff~=.0é")
            lines[i] = lines[i][:j] + character + lines[i][j + rng.randint(0, 1) :]
        text = "\n".join(lines) + "\n"
    return text


def mutated_bytes(rng: Random, raw: bytes, most: int = 4) -> bytes:
    """Bytes with bits flipped, and pieces left out, repeated, overwritten; or only the beginning of them."""
    data = bytearray(raw)
    for _ in range(rng.randint(1, most)):
        if not data:
            break
        i = rng.randrange(len(data))
        n = rng.choice((1, 4, 16, 100))
        chance = rng.random()
        if chance < 0.4:
            data[i] ^= 1 << rng.randrange(8)
        elif chance < 0.55:
            data[i : i + n] = rng.randbytes(n)
        elif chance < 0.7:
            del data[i : i + n]
        elif chance < 0.8:
            data[i:i] = data[i : i + n]
        elif chance < 0.9:
            data[i : i + n] = rng.choice((b"\0", b"\xff", b"\x7f")) * n
        else:
            del data[i:]
    return bytes(data)
