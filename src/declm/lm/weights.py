"""Where the file of a local model lies."""

from __future__ import annotations

from pathlib import Path

from declm.errors import MissingExtra, UnknownModel
from declm.files import cache_root
from declm.lm.pull import PINNED


def model_path(name: str) -> Path:
    """Find the file of `local/<name>`.

    Args:
        name: a model that `declm pull` knows, a path to a `.gguf` file, or
            `<org>/<repo>/<file>.gguf` on the Hugging Face hub (downloaded to the hub's own cache).

    Raises:
        UnknownModel: there is no such file; the message says what to run.
        MissingExtra: it can only be on the hub, and huggingface_hub is not installed.
    """
    pinned = PINNED.get(name)
    if pinned is not None:
        path = cache_root() / "models" / pinned.file
        if not path.is_file():
            raise UnknownModel(f"the model {name!r} is not on this machine yet: run  declm pull {name}")
        return path
    path = Path(name).expanduser()
    if path.is_file():
        return path.absolute()
    if path.suffix != ".gguf":
        known = ", ".join(repr(f"local/{known}") for known in PINNED)
        raise UnknownModel(f"there is no model 'local/{name}': write {known} or 'local/<path to a file>.gguf'")
    parts = name.split("/")
    if len(parts) < 3 or path.is_absolute() or parts[0] in (".", "..", "~"):
        raise UnknownModel(f"there is no model file {str(path)!r}")
    return _from_hub("/".join(parts[:2]), "/".join(parts[2:]))


def _from_hub(repo: str, file: str) -> Path:
    try:
        from huggingface_hub import hf_hub_download  # pyright: ignore[reportUnknownVariableType]  # partly typed
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError as error:
        raise MissingExtra("local", "huggingface_hub") from error
    try:
        return Path(hf_hub_download(repo, file))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise UnknownModel(
            f"there is no file {f'{repo}/{file}'!r} here, and the Hugging Face hub did not give it: {error}"
        ) from error
