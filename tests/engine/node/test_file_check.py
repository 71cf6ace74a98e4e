"""Whether a model file is still the registered one, and that asking does not delay the node."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from engine.node import file_check
from engine.node.planning import Weights
from storage.runtime import file_identity
from tests import home_fixtures


def weights(path: Path, **changes: int) -> Weights:
    """A file as it was registered, with what has changed since."""
    now = path.stat()
    return Weights(
        model=1,
        path=str(path),
        sha256=home_fixtures.digest(path),
        size_bytes=changes.get("size_bytes", now.st_size),
        mtime_ns=changes.get("mtime_ns", now.st_mtime_ns),
    )


async def test_a_file_is_read_again_only_if_its_size_or_time_differ(tmp_path: Path) -> None:
    """A copy of the same bytes is the same file; others are named by their hash."""
    path = tmp_path / "a.gguf"
    path.write_bytes(b"one")
    registered = weights(path, mtime_ns=1)
    assert (await file_check.check(registered)).verified == file_identity.of(path)
    path.write_bytes(b"two")
    assert "is not the file that was registered" in (
        (await file_check.check(registered)).refusal or ""
    )


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
