"""The options file and the command line of BasicSR."""

import functools
import logging
import re
import sys
from collections import OrderedDict
from typing import Any, Tuple

import yaml
from basicsr.utils import logger, options

from quantnas_sr.compat.replacing import alike, rebind


class _PlainLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """Builds plain data only, with mappings in the order of the file."""


def _ordered_mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> OrderedDict:
    return OrderedDict(loader.construct_pairs(node))


_PlainLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _ordered_mapping)


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


def accept_dashed_local_rank() -> None:
    """``torch.distributed.launch`` passes ``--local-rank`` since torch 2.0, which ``parse_options`` does not know."""
    original = options.parse_options

    @functools.wraps(original)
    def parse_options(*args: Any, **kwargs: Any) -> Tuple[Any, Any]:
        sys.argv[1:] = [re.sub(r"^--local-rank\b", "--local_rank", argument) for argument in sys.argv[1:]]
        return original(*args, **kwargs)

    rebind(original, parse_options)
