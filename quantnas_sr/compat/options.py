"""The options file, the command line and the beginning of a run of BasicSR."""

import functools
import logging
import re
import sys
from collections import OrderedDict
from typing import Any, Callable, Dict, Tuple

import yaml
from basicsr.utils import logger, misc, options

from quantnas_sr.compat.replacing import alike, rebind
from quantnas_sr.compat.resume import resume_anywhere


class _PlainLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """Builds plain data only, with mappings in the order of the file."""


def _ordered_mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> OrderedDict:
    return OrderedDict(loader.construct_pairs(node))


_PlainLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _ordered_mapping)

#: Python's own types by their YAML tags: plain data too, which BasicSR's loader builds and a safe loader refuses.
_BUILT_IN: Dict[str, Callable[[Any, yaml.Node], Any]] = {
    "tuple": lambda loader, node: tuple(loader.construct_sequence(node, deep=True)),
    "list": lambda loader, node: loader.construct_sequence(node, deep=True),
    "dict": lambda loader, node: dict(loader.construct_pairs(node, deep=True)),
    "str": lambda loader, node: loader.construct_scalar(node),
    "unicode": lambda loader, node: loader.construct_scalar(node),
    "int": yaml.SafeLoader.construct_yaml_int,
    "float": yaml.SafeLoader.construct_yaml_float,
    "bool": yaml.SafeLoader.construct_yaml_bool,
    "none": yaml.SafeLoader.construct_yaml_null,
    "complex": lambda loader, node: complex(loader.construct_scalar(node)),
}
for _name, _construct in _BUILT_IN.items():
    _PlainLoader.add_constructor(f"tag:yaml.org,2002:python/{_name}", _construct)


def read_plain_yaml() -> None:
    """``ordered_yaml`` gives a loader that runs any function an options file names (``!!python/object/apply``)."""
    original = options.ordered_yaml
    if not issubclass(original()[0], yaml.constructor.FullConstructor):
        return

    @functools.wraps(original)
    def ordered_yaml() -> Tuple[type, type]:
        return _PlainLoader, original()[1]

    rebind(original, ordered_yaml)


def write_as_utf8() -> None:
    """``copy_opt_file`` reads and writes the options file, and the log is written, in the locale's encoding."""
    options.open = functools.partial(open, encoding="utf-8", errors="surrogateescape")
    logger.logging = alike(logging, FileHandler=functools.partial(logging.FileHandler, encoding="utf-8"))


def take_whole_seeds() -> None:
    """``manual_seed: 10.0`` is a whole number, which NumPy takes only as an integer."""
    original = misc.set_random_seed

    @functools.wraps(original)
    def set_random_seed(seed: Any) -> None:
        original(int(seed) if isinstance(seed, float) and seed.is_integer() else seed)

    rebind(original, set_random_seed)


def prepare_runs() -> None:
    """``parse_options`` is the first thing that a run calls, and does not know ``--local-rank``.

    ``torch.distributed.launch`` passes it since torch 2.0. And what is to be mended in the script itself
    (`resume_anywhere`) exists by now.
    """
    original = options.parse_options

    @functools.wraps(original)
    def parse_options(*args: Any, **kwargs: Any) -> Any:
        resume_anywhere()
        sys.argv[1:] = [re.sub(r"^--local-rank\b", "--local_rank", argument) for argument in sys.argv[1:]]
        return original(*args, **kwargs)

    rebind(original, parse_options)
