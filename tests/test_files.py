"""Atomic files and the cache folder."""

from __future__ import annotations

import os
import sqlite3
import stat
import sys
from pathlib import Path

import pytest

from declm.files import cache_dir, cache_root, is_remote, unlocked, write_atomic

posix = pytest.mark.skipif(sys.platform == "win32", reason="file modes of POSIX")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_atomic(path, "old")
    write_atomic(path, "new \N{SNOWMAN}")
    assert path.read_text("utf-8") == "new \N{SNOWMAN}"
    write_atomic(path, b"\x00bytes")
    assert path.read_bytes() == b"\x00bytes"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_bare_file_name_is_written_into_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_atomic("a.txt", "here")
    assert (tmp_path / "a.txt").read_text() == "here"


@posix
def test_files_and_folders_are_their_owners_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_atomic(tmp_path / "a.json", "x")
        folder = cache_dir("ledgers", "deep")
    finally:
        os.umask(before)
    assert mode(tmp_path / "a.json") == 0o600
    assert mode(folder) == mode(folder.parent) == 0o700


def test_a_failed_replacement_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    write_atomic(path, "old")

    def full(self: Path, target: object) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_disk_that_fills_up_while_writing_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    write_atomic(path, "old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_that_can_not_be_synced_is_no_failed_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync = os.fsync

    def files_only(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(22, "Invalid argument")
        sync(handle)

    monkeypatch.setattr(os, "fsync", files_only)
    write_atomic(tmp_path / "a.json", "new")
    assert (tmp_path / "a.json").read_text() == "new"


def test_the_cache_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DECLM_CACHE_DIR", str(tmp_path / "mine"))
    assert cache_root() == tmp_path / "mine"
    assert cache_dir("a", "b") == tmp_path / "mine" / "a" / "b"
    assert (tmp_path / "mine" / "a" / "b").is_dir()
    monkeypatch.delenv("DECLM_CACHE_DIR")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root() == tmp_path / "xdg" / "declm"


MOUNTS = """
/dev/sda1 / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
tmpfs /home/ann/local tmpfs rw 0 0
//server/share /mnt/with\\040space cifs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "remote"),
    [
        ("/var/cache/x", False),
        ("/home/ann/.cache/declm", True),
        ("/home/ann/local/x", False),
        ("/homes", False),
        ("/mnt/with space/x", True),
    ],
)
def test_a_network_file_system_is_told_by_the_nearest_mount(tmp_path: Path, path: str, remote: bool) -> None:
    (tmp_path / "mounts").write_text(MOUNTS)
    assert is_remote(Path(path), tmp_path / "mounts") is remote


def test_where_mounts_are_not_listed_nothing_is_remote(tmp_path: Path) -> None:
    assert not is_remote(tmp_path, tmp_path / "none")


def test_a_database_that_others_are_making_is_waited_for() -> None:
    faults = [sqlite3.OperationalError("database is locked")] * 3

    def connect() -> str:
        if faults:
            raise faults.pop()
        return "connected"

    assert unlocked(connect, 5.0) == "connected"


@pytest.mark.parametrize("fault", ["database is locked", "disk I/O error"])
def test_what_stays_locked_or_is_broken_is_raised(fault: str) -> None:
    tried = list[str]()

    def connect() -> None:
        tried.append(fault)
        raise sqlite3.OperationalError(fault)

    with pytest.raises(sqlite3.OperationalError, match=fault):
        unlocked(connect, 0.05)
    assert (len(tried) > 1) == ("locked" in fault)
