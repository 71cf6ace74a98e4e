"""A real S3 server on loopback: a model is added from a bucket, and a download resumes.

Runs where PADDOCK_MOTO names the command `moto_server` and s3fs is installed; the suite has
neither of them.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from engine.registry import filesystems
from engine.registry.downloads import Download
from engine.registry.server_responses import Refused
from engine.registry.sources import Filesystem
from storage import models
from storage.intents import State
from tests import home_fixtures
from tests.engine.control import ggufs
from tests.engine.control.desks import desk
from tests.engine.registry import peers

MOTO = os.environ.get("PADDOCK_MOTO", "")
pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(
        not MOTO or importlib.util.find_spec("s3fs") is None,
        reason="PADDOCK_MOTO does not name the command moto_server, or s3fs is missing",
    ),
]
KEYS = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the server listens."""
    root, port = tmp_path_factory.mktemp("moto"), home_fixtures.free_port()
    found = f"http://127.0.0.1:{port}"
    words = [MOTO, "-H", "127.0.0.1", "-p", str(port)]
    with peers.running(words, root / "log", f"{found}/moto-api/"):
        yield found


@pytest.fixture
def bucket(address: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The file system as a node's environment configures it, with an empty bucket."""
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": address}.items():
        monkeypatch.setenv(name, value)
    fsspec.filesystem("s3").clear_instance_cache()
    system = fsspec.filesystem("s3")
    if not system.exists("models"):
        system.mkdir("models")
    return system


async def test_a_model_is_added_from_a_bucket(bucket: Any, tmp_path: Path) -> None:
    """By the job, under its address."""
    path = ggufs.made(tmp_path / "tiny.gguf")
    bucket.put(str(path), "models/tiny.gguf")
    async with desk(tmp_path / "home") as control:
        added = await control.do(
            "models.add", "tiny", model="tiny", version="1.0.0", path="s3://models/tiny.gguf"
        )
        assert added.state is State.APPLIED, added.outcome
        async with control.store.read() as s:
            version = await models.find(s, "tiny@1.0.0")
    assert (version.source, version.sha256) == (
        "s3://models/tiny.gguf",
        home_fixtures.digest(path),
    )


async def test_a_download_that_died_at_99_percent_is_resumed(bucket: Any, tmp_path: Path) -> None:
    """While the object is the same; another one in its place is downloaded from its beginning."""
    content = ggufs.made(tmp_path / "tiny.gguf").read_bytes()
    bucket.pipe("models/again.gguf", content)
    source, download = Filesystem("s3://models/again.gguf", "again.gguf"), Download(tmp_path)
    said: list[str] = []

    async def fetch() -> bytes:
        await filesystems.fetch(
            source, download, progress=lambda *_: None, log=said.append,
            free_bytes=lambda _: 10**12,
        )  # fmt: skip
        return download.part.read_bytes()

    assert await fetch() == content
    cut = len(content) * 99 // 100
    download.part.write_bytes(content[:cut])
    assert await fetch() == content
    download.part.write_bytes(content[:cut])
    bucket.pipe("models/again.gguf", content[:-1] + b"x")
    bucket.invalidate_cache()
    assert await fetch() == content[:-1] + b"x"
    assert said == [f"Resuming at byte {cut}.", "The file cannot be resumed; starting over."]


@pytest.mark.usefixtures("bucket")
async def test_an_object_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """With its address."""
    source = Filesystem("s3://models/none.gguf", "none.gguf")
    with pytest.raises(Refused, match=r"s3://models/none\.gguf: there is no such file"):
        await filesystems.fetch(
            source, Download(tmp_path), progress=lambda *_: None, log=lambda _: None
        )
