"""Lines of results: where they were measured, and how they are kept."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from declm import __version__


def surroundings() -> dict[str, str]:
    """Date (UTC), versions and kind of machine; no names of hosts or folders."""
    threads = os.environ.get("DECLM_THREADS")
    return {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "declm": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": f"{os.cpu_count()}" + (f" ({threads} for the model)" if threads else ""),
    }


def keep(line: Mapping[str, Any], path: Path | None) -> None:
    """Append a line of JSON to a file; None keeps nothing."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
