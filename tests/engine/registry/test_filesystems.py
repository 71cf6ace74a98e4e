"""Files of file systems that fsspec knows: resumed where they stopped, never mixed of two."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem

from engine.registry import filesystems
from engine.registry.downloads import Download
from engine.registry.server_responses import Refused, Unavailable
from engine.registry.sources import Filesystem

SOURCE = Filesystem("memory://bucket/tiny.gguf", "tiny.gguf")
CONTENT = b"GGUF" + bytes(range(256)) * 64


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A file system in memory whose files have an ETag, as those of object stores."""
    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/tiny.gguf", CONTENT)
    plain = MemoryFileSystem.info

    def info(self: Any, path: str, **more: Any) -> Any:
        found = plain(self, path, **more)
        mark = str(hash(self.cat(path))) if found["type"] == "file" else ""
        return {**found, "ETag": mark}

    monkeypatch.setattr(MemoryFileSystem, "info", info)
    yield memory
    memory.store.clear()


class Fetch:
    """A download into a directory, and what it said."""

    def __init__(self, directory: Path) -> None:
        self.download = Download(directory)
        self.said: list[str] = []
        self.seen: list[int] = []

    async def __call__(self, source: Filesystem = SOURCE, free: int = 10**12) -> bytes:
        """Fetch; the bytes that are there then."""
        await filesystems.fetch(
            source,
            self.download,
            progress=lambda done, _: self.seen.append(done),
            log=self.said.append,
            free_bytes=lambda _: free,
        )
        return self.download.part.read_bytes()


@pytest.fixture
def fetch(tmp_path: Path) -> Fetch:
    """Into an empty directory."""
    return Fetch(tmp_path)


@pytest.mark.usefixtures("system")
async def test_a_file_is_downloaded_whole(fetch: Fetch) -> None:
    """With its progress."""
    assert await fetch() == CONTENT
    assert fetch.seen[-1] == len(CONTENT)


@pytest.mark.usefixtures("system")
async def test_a_download_that_was_cut_off_is_resumed(
    fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there already is not asked for again."""
    await fetch()
    cut = len(CONTENT) * 99 // 100
    fetch.download.part.write_bytes(CONTENT[:cut])
    asked: list[int] = []
    plain = MemoryFile.seek

    def seek(self: Any, at: int, *more: Any) -> Any:
        asked.append(at)
        return plain(self, at, *more)

    monkeypatch.setattr(MemoryFile, "seek", seek)
    assert await fetch() == CONTENT
    assert cut in asked
    assert fetch.said == [f"Resuming at byte {cut}."]


async def test_a_file_that_changed_at_its_source_starts_over(fetch: Fetch, system: Any) -> None:
    """Bytes of two files are never mixed."""
    await fetch()
    fetch.download.part.write_bytes(CONTENT[:100])
    system.pipe("/bucket/tiny.gguf", CONTENT[:-1] + b"x")
    assert await fetch() == CONTENT[:-1] + b"x"
    assert fetch.said == ["The file cannot be resumed; starting over."]


async def test_what_can_never_be_downloaded_is_refused(fetch: Fetch, system: Any) -> None:
    """No file, no model, no room, no such protocol."""
    system.pipe("/bucket/page.html", b"<html>")
    for address, free, said in (
        ("memory://bucket/none.gguf", 10**12, "there is no such file"),
        ("memory://bucket", 10**12, "is not a file"),
        ("memory://bucket/page.html", 10**12, "letters GGUF"),
        (SOURCE.address, 10**9, "Not enough disk space"),
        ("nosuch://a/b.gguf", 10**12, "extra `remote`"),
    ):
        with pytest.raises(Refused, match=said):
            await fetch(Filesystem(address, "x.gguf"), free)


@pytest.mark.usefixtures("system")
async def test_a_server_that_fails_is_tried_again(
    fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What arrived is kept."""

    def fails(*_: Any, **__: Any) -> Any:
        raise OSError("connection reset")

    await fetch()
    fetch.download.part.write_bytes(CONTENT[:100])
    monkeypatch.setattr(MemoryFileSystem, "open", fails)
    with pytest.raises(Unavailable, match="connection reset"):
        await fetch()
    assert fetch.download.size_bytes() == 100


async def test_without_fsspec_the_refusal_says_what_to_install(
    fetch: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is an extra."""
    plain = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name == "fsspec":
            raise ImportError(name)
        return plain(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(Refused, match="memory:// needs fsspec; install Paddock with its extra"):
        await fetch()
