"""Which options are secret, and how texts are kept free of them."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, cast
from urllib.parse import unquote

from declm.text import clip, redact

_SECRET = re.compile(r"(?i)(^|_)(key|key_id|token|secret|password|credentials?|authorization|headers?|cookies?)$")

_CREDENTIALS = re.compile(r"://([^/\s:@]*):([^/\s@]+)@")

_SHORTEST = 6  # a shorter "secret" is a placeholder such as "none", and masking it would garble messages


def is_secret(name: str) -> bool:
    """Whether an option of that name holds a key, or headers that may."""
    return _SECRET.search(name) is not None


def scrub(text: str, options: Mapping[str, Any]) -> str:
    """Mask every secret of these options and of the environment, should a server have echoed it."""
    for value in (*_secrets(options), *_secrets(os.environ)):
        if len(value) >= _SHORTEST:
            text = text.replace(value, "***")
    return redact(text)


def _secrets(options: Mapping[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from _secrets(cast("Mapping[str, Any]", value))  # headers, by name
        elif isinstance(value, str) and is_secret(name.replace("-", "_")):
            yield value
        elif isinstance(value, str) and "://" in value:
            for user, password in _CREDENTIALS.findall(value):
                yield password
                yield unquote(password)
                # As it travels, by RFC 7617.
                yield base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()


def shown(options: Mapping[str, Any]) -> dict[str, str]:
    """Options as texts for a `repr`: without the API key, other secrets masked."""
    return {k: "***" if is_secret(k) else redact(clip(repr(v), 80)) for k, v in options.items() if k != "api_key"}


def masked(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as they are, with `***` for every secret."""
    return {name: "***" if is_secret(name.replace("-", "_")) else value for name, value in options.items()}
