"""Which networks a file may name: a closed list, for some classes read or download other files when they are built.

Options files are written by the one who runs them. A checkpoint, or a file of bit widths, may come from anybody.
"""

import inspect
import re
from typing import Any, Iterator, Mapping, Tuple

from quantnas_sr.errors import OptionError
from quantnas_sr.registration import ARCH_REGISTRY, BASICSR_SUFFIX, SUFFIX
from quantnas_sr.values.kinds import shown

#: Of this package: networks without a description of their own.
OURS = ("ESPCN", "MergedArch", "RFDN", "SpandrelArch")
#: Of BasicSR: networks of images that read nothing.
OF_BASICSR = ("ECBSR", "EDSR", "MSRResNet", "RCAN", "RIDNet", "RRDBNet", "SRVGGNetCompact", "SwinIR")
#: BasicSR's own files; what else is in a package of that name is of a project that has a copy of it.
_BASICSR = re.compile(
    r"basicsr\.archs\.(arch_util|basicvsr|basicvsrpp|dfdnet|discriminator|duf|ecbsr|edsr|edvr|hifacegan|inception|rcan"
    r"|ridnet|rrdbnet|spynet|srresnet|srvgg|stylegan2|swinir|tof|vgg)(_arch|_util)?"
)
#: Names of arguments whose text or ``true`` makes a class read or download a file.
_OF_FILES = re.compile(r"(^|_)(path|file|filename|dir|folder|url|ckpt|checkpoint|pretrain(ed)?|download|genotype)$")
_FILE = re.compile(r"[/\\~\0]|\.(pth?|ckpt|pkl|pickle|bin|safetensors|ya?ml|json|np[yz]|h5|mat|zip|tar|py|so)$", re.I)


def nameable(arch: Any, where: str = "arch") -> Any:
    """The options of a network that a file describes, if a file may name such a network.

    Args:
        arch: ``type`` of a registered arch, and its own options.
        where: what an error begins with.

    Raises:
        OptionError: it may not: the class reads or downloads files, or an option names one; one line.
    """
    if not isinstance(arch, Mapping) or not isinstance(arch.get("type"), str):
        raise OptionError(f"{where}: {shown(arch)} is not a mapping with the key 'type'")
    name = arch["type"]
    cls = ARCH_REGISTRY.find(name)
    module = str(getattr(cls, "__module__", ""))
    ours, basicsrs = module.startswith("quantnas_sr."), _BASICSR.fullmatch(module)
    bare = name.removesuffix(SUFFIX if ours else BASICSR_SUFFIX)
    if (ours and bare not in OURS) or (basicsrs and bare not in OF_BASICSR):
        allowed = ", ".join(sorted((*OURS, *OF_BASICSR)))
        raise OptionError(f"{where}: a file may not name {name}. Allowed: {allowed}, or a network of your own project")
    if isinstance(arch.get("arch"), Mapping):
        nameable(arch["arch"], f"{where}: arch")
    given = {**_defaults(cls), **arch}
    for place, key, value in _entries(given, where):
        if isinstance(value, str) and _FILE.search(value) or _OF_FILES.search(key) and _opens(value):
            raise OptionError(f"{place}: {shown(value)} names a file, and a file may name no others")
    return arch


def _defaults(cls: Any) -> Mapping[str, Any]:
    """The arguments of a class that its options need not give."""
    try:
        parameters = inspect.signature(cls).parameters.values()
    except (TypeError, ValueError):  # nothing is registered under the name, which `build_arch` says
        return {}
    return {parameter.name: parameter.default for parameter in parameters if parameter.default is not parameter.empty}


def _opens(value: Any) -> bool:
    return value is True or (isinstance(value, str) and bool(value))


def _entries(options: Any, where: str) -> Iterator[Tuple[str, str, Any]]:
    """The place, the key and the value of everything in nested options."""
    items = options.items() if isinstance(options, Mapping) else enumerate(options)
    for key, value in items:
        place = f"{where}: {key}"
        yield place, str(key), value
        if isinstance(value, (Mapping, list, tuple)):
            yield from _entries(value, where)
