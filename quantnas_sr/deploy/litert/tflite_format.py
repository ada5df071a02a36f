"""What the export and the runtime agree on in a ``.tflite``: its metadata, and its digest.

The names of input and output, the keys of the metadata and the names of tensors (see `Call`) are those of an ``.onnx``.
"""

import hashlib
import re
from types import ModuleType
from typing import Dict

from quantnas_sr.deploy.onnx.onnx_format import METADATA_PREFIX
from quantnas_sr.deploy.packages import import_litert

#: The first bytes of a file after the offset of its root.
FILE_IDENTIFIER = b"TFL3"
#: Key of the entry of the metadata that holds the digest, and what the digest's 64 digits follow in the file.
DIGEST_KEY = f"{METADATA_PREFIX}digest"
_BEFORE_DIGEST = b"quantnas_sr.sha256="
#: The entry before the digest is known.
UNSEALED = _BEFORE_DIGEST + b"0" * 64
_SEAL = re.compile(re.escape(_BEFORE_DIGEST) + rb"([0-9a-f]{64})")


def sealed(model: bytes) -> bytes:
    """A serialized model whose metadata have `UNSEALED`, with a digest of itself in its place.

    >>> is_sealed(sealed(b"x" + UNSEALED)), is_sealed(b"x"), is_sealed(sealed(b"x" + UNSEALED).replace(b"x", b"y"))
    (True, False, False)
    """
    return model.replace(UNSEALED, _BEFORE_DIGEST + hashlib.sha256(model).hexdigest().encode("ascii"))


def is_sealed(data: bytes) -> bool:
    """Whether the content of a file is as `sealed` made it. That shows damage; it does not show who wrote it."""
    return bool(_SEAL.search(data)) and sealed(_SEAL.sub(UNSEALED, data)) == data


def schema() -> ModuleType:
    """The classes of the schema of TFLite's files, which come with LiteRT.

    Raises:
        MissingExtraError: LiteRT is not installed, or cannot be imported.
    """
    return import_litert("a .tflite", "schema_py_generated")


def metadata_of(model: bytes) -> Dict[str, str]:
    """The metadata of a file that LiteRT has opened.

    Raises:
        ValueError: they are no text.
    """
    table = schema().Model.GetRootAs(model, 0)
    found = {}
    for entry in map(table.Metadata, range(table.MetadataLength())):
        if entry.Name().startswith(METADATA_PREFIX.encode("ascii")):
            content = table.Buffers(entry.Buffer())
            text = content.DataAsNumpy().tobytes() if content.DataLength() else b""
            found[entry.Name().decode("ascii")] = text.decode("utf-8")
    return found
