"""What every line of results says of where it was measured."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone

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
