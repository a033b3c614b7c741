"""What DSPy's adapters send for the signatures: `python benchmarks/prompt_peers.py`, in the peers' environment.

Prints one line of JSON: the adapter's name and the messages for each signature.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Any

from prompt_signatures import SIGNATURES, Typical


def prompts(adapter: Any, typical: Typical) -> list[dict[str, str]]:
    """The messages of one call."""
    import dspy  # pyright: ignore[reportMissingImports]  # in the peers' environment only

    library: Any = dspy
    described = {name: (kind, library.InputField(desc=words)) for name, (kind, words) in typical.inputs.items()}
    described |= {name: (kind, library.OutputField(desc=words)) for name, (kind, words) in typical.outputs.items()}
    signature = library.make_signature(described, typical.instructions, typical.name)
    found: list[dict[str, str]] = adapter.format(signature, [], dict(typical.values))
    return found


def main() -> None:
    """Run the command."""
    import dspy  # pyright: ignore[reportMissingImports]  # as above

    library: Any = dspy
    for adapter in (library.ChatAdapter(), library.JSONAdapter()):
        name = f"DSPy {type(adapter).__name__} (dspy {version('dspy')})"
        print(json.dumps({"name": name, "prompts": [prompts(adapter, typical) for typical in SIGNATURES]}))


if __name__ == "__main__":
    main()
