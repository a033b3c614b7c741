"""Which options are secret, and how texts are kept free of them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from declm.text import clip, redact

_SECRET = re.compile(r"(?i)(^|_)(key|key_id|token|secret|password|credentials?|authorization|headers?|cookies?)$")

_SHORTEST = 6  # a shorter "secret" is a placeholder such as "none", and masking it would garble messages


def is_secret(name: str) -> bool:
    """Whether an option of that name holds a key, or headers that may."""
    return _SECRET.search(name) is not None


def scrub(text: str, options: Mapping[str, Any]) -> str:
    """Mask every secret of these options and of the environment, should a server have echoed it."""
    values = [value for name, value in (*options.items(), *os.environ.items()) if is_secret(name)]
    for value in values:
        if isinstance(value, str) and len(value) >= _SHORTEST:
            text = text.replace(value, "***")
    return redact(text)


def shown(options: Mapping[str, Any]) -> dict[str, str]:
    """Options as texts for a `repr`: without the API key, other secrets masked."""
    return {k: "***" if is_secret(k) else redact(clip(repr(v), 80)) for k, v in options.items() if k != "api_key"}
