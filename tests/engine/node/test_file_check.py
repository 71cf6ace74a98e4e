"""Whether a model file is still the registered one, and that asking does not delay the node."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from engine.node import file_check
from engine.node.planning import Weights
from storage.model_files import ModelFile
from storage.runtime import file_identity
from tests import home_fixtures


def weights(*paths: Path, mtime_ns: int | None = None) -> Weights:
    """Files as they were registered, if asked for with a modification time that has changed."""
    files = tuple(
        ModelFile(
            path=str(path),
            sha256=home_fixtures.digest(path),
            size_bytes=path.stat().st_size,
            mtime_ns=path.stat().st_mtime_ns if mtime_ns is None else mtime_ns,
        )
        for path in paths
    )
    return Weights(1, file_identity.whole([each.sha256 for each in files]), files)


async def test_a_file_is_read_again_only_if_its_size_or_time_differ(tmp_path: Path) -> None:
    """A copy of the same bytes is the same file; others are named by their hash."""
    path = tmp_path / "a.gguf"
    path.write_bytes(b"one")
    registered = weights(path, mtime_ns=1)
    assert (await file_check.check(registered)).verified == (file_identity.of(path),)
    path.write_bytes(b"two")
    assert "is not the file that was registered" in (
        (await file_check.check(registered)).refusal or ""
    )


async def test_of_a_split_model_every_part_is_checked(tmp_path: Path) -> None:
    """The refusal names the part; with a missing one nothing is verified, and the load says so."""
    one, two = tmp_path / "a-00001-of-00002.gguf", tmp_path / "a-00002-of-00002.gguf"
    one.write_bytes(b"one")
    two.write_bytes(b"two")
    registered = weights(one, two, mtime_ns=1)
    found = [file_identity.of(one), file_identity.of(two)]
    assert [*(await file_check.check(registered)).verified] == found
    two.write_bytes(b"too")
    assert (await file_check.check(registered)).refusal.startswith(  # type: ignore[union-attr]
        f"{two} is not the file that was registered"
    )
    two.unlink()
    assert await file_check.check(registered) == file_check.Checked()


async def test_a_check_that_is_cancelled_stops_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that stops does not wait for the hash of a file of 100 GB."""
    path = tmp_path / "pipe"
    path.write_bytes(b"a")
    registered = weights(path, mtime_ns=1)
    path.unlink()
    os.mkfifo(path)  # it has no end while it is open for writing here
    begun, ended = threading.Event(), threading.Event()
    read = file_check._read

    def watched(path: Path, cancelled: threading.Event) -> str:
        begun.set()
        try:
            return read(path, cancelled)
        finally:
            ended.set()

    monkeypatch.setattr(file_check, "_read", watched)
    checking = asyncio.create_task(file_check.check(registered))
    assert await asyncio.to_thread(begun.wait, 30)
    writing = await asyncio.to_thread(path.open, "wb", 0)
    with writing:
        checking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await checking
        writing.write(b"one chunk more")
        assert await asyncio.to_thread(ended.wait, 30)
