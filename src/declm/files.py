"""Files that must survive a crash: atomic writes, private modes, the user's cache folder."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_PAUSE_S = 0.01


def cache_root() -> Path:
    """Where declm's own files lie: `$DECLM_CACHE_DIR`, else the platform's user cache folder."""
    given = os.environ.get("DECLM_CACHE_DIR")
    if given:
        return Path(given)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "declm"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", str(Path.home()))) / "declm"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "declm"


def cache_dir(*parts: str) -> Path:
    """A folder below `cache_root`, made if needed; it and the root are open to their owner only."""
    return make_private(cache_root().joinpath(*parts))


def make_private(folder: Path) -> Path:
    """Make a folder and the missing ones above it, all open to their owner only; those that exist stay as they are."""
    for each in reversed([folder, *folder.parents]):
        if not each.is_dir():
            each.mkdir(exist_ok=True, mode=0o700)
    return folder


_REMOTE = frozenset(
    ("9p afs beegfs ceph cifs coda fuse.ceph fuse.glusterfs fuse.s3fs fuse.sshfs gfs2 glusterfs gpfs lustre "
    "ncpfs nfs nfs4 ocfs2 orangefs pvfs2 smb2 smb3 smbfs").split()
)  # fmt: skip
"""File systems of several machines, by the names that Linux has for them."""


def is_remote(path: Path, mounts: Path = Path("/proc/self/mounts")) -> bool:
    """Whether a path lies on a network file system; False where that is not known (other systems than Linux).

    Memory shared between processes and locks don't work there as on a disk.
    """
    try:
        listed = [line.split() for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines()]
        target = path.resolve()
    except (OSError, RuntimeError):
        return False
    kind, depth = "", -1
    for _, folder, found, *_ in (line for line in listed if len(line) > 2):
        at = Path(folder.replace("\\040", " "))
        if len(at.parts) >= depth and target.is_relative_to(at):  # of two on one folder the last one counts
            kind, depth = found, len(at.parts)
    return kind in _REMOTE


def write_atomic(path: str | Path, content: str | bytes) -> None:
    """Replace the file at `path` in one step: readers see the old content or the new, never a part.

    The file is readable by its owner only. Raises OSError if the disk is full or read-only; the
    old file is then untouched.
    """
    target = Path(path)
    data = content.encode("utf-8") if isinstance(content, str) else content
    handle, name = tempfile.mkstemp(dir=target.parent or ".", prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    # So that the rename itself reaches the disk. Some platforms and file systems can't sync a folder; the
    # file has been replaced all the same, and an error here would say that it has not.
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def unlocked(connect: Callable[[], T], patience_s: float) -> T:
    """Connect to a database of SQLite's that other processes may be making at this moment.

    It does not wait by itself where several set the journal of a new file at once.

    Raises:
        sqlite3.OperationalError: it stays locked for `patience_s` seconds, or another one of `connect`.
    """
    import sqlite3

    end_s = time.monotonic() + patience_s
    while True:
        try:
            return connect()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end_s:
                raise
        time.sleep(_PAUSE_S)
