"""The header of a GGUF file: what a model says about itself, read without loading it.

Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (version 2 and 3, little-endian).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from declm.errors import UnknownModel

_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_LONGEST = 1 << 24


def read_header(path: Path) -> Mapping[str, Any]:
    """Read the metadata by key; arrays are skipped and hold their length.

    Raises:
        UnknownModel: the file can't be read, or is no GGUF file.
    """
    try:
        with path.open("rb") as file:
            return _metadata(file)
    except OSError as error:
        raise UnknownModel(f"the model file {str(path)!r} can't be read: {error.strerror}") from error
    except (struct.error, ValueError, UnicodeDecodeError, KeyError) as error:
        raise UnknownModel(f"{str(path)!r} is no GGUF model file; its header can't be read ({error})") from error


def _metadata(file: BinaryIO) -> dict[str, Any]:
    if file.read(4) != b"GGUF":
        raise ValueError("it does not start with 'GGUF'")
    version, _tensors, count = struct.unpack("<IQQ", file.read(20))
    if version not in (2, 3):
        raise ValueError(f"version {version} is not supported")
    header: dict[str, Any] = {}
    for _ in range(count):
        key = _string(file)
        if key.startswith("tokenizer.") and f"{header.get('general.architecture')}.context_length" in header:
            break  # vocabularies are long, and what we want stands before them
        header[key] = _value(file, _unpack(file, "<I"))
    return header


def _unpack(file: BinaryIO, layout: str) -> Any:
    return struct.unpack(layout, file.read(struct.calcsize(layout)))[0]


def _string(file: BinaryIO) -> str:
    length = _unpack(file, "<Q")
    if length > _LONGEST:
        raise ValueError("a text is longer than the format allows for")
    return file.read(length).decode("utf-8", "replace")


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _string(file)
    if kind != _ARRAY:
        return _unpack(file, _SCALARS[kind])
    item, length = _unpack(file, "<I"), _unpack(file, "<Q")
    if item in _SCALARS:
        file.seek(length * struct.calcsize(_SCALARS[item]), 1)
    else:
        for _ in range(length):
            _value(file, item)
    return length
