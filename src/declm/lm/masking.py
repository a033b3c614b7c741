"""Which options are secret: those are shown as `***` and never written anywhere."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from declm.text import clip, redact

_SECRET = re.compile(r"(?i)(^|_)(key|key_id|token|secret|password|credentials?|authorization|headers?|cookies?)$")


def is_secret(name: str) -> bool:
    """Whether an option of that name holds a key, or headers that may."""
    return _SECRET.search(name) is not None


def shown(options: Mapping[str, Any]) -> dict[str, str]:
    """Options as texts for a `repr`: without the API key, other secrets masked."""
    return {k: "***" if is_secret(k) else redact(clip(repr(v), 80)) for k, v in options.items() if k != "api_key"}
