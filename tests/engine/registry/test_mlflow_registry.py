"""A real MLflow server on loopback: versions come from it and go back to it.

Runs where PADDOCK_MLFLOW names the command `mlflow`, which the suite does not install.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.registry import downloads, mlflow_registry, server_requests, sources
from engine.registry.downloads import Download
from engine.registry.server_responses import Refused
from engine.registry.sources import BadSource
from storage import models
from storage.intents import State
from tests import home_fixtures
from tests.engine.control import ggufs
from tests.engine.control.desks import desk
from tests.engine.registry import peers, split_gguf

MLFLOW = os.environ.get("PADDOCK_MLFLOW", "")
pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(not MLFLOW, reason="PADDOCK_MLFLOW does not name the command mlflow"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment that names a running server."""
    root, port = tmp_path_factory.mktemp("mlflow"), home_fixtures.free_port()
    address = f"http://127.0.0.1:{port}"
    words = [
        *(MLFLOW, "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{root}/mlflow.db"),
        *("--artifacts-destination", str(root / "artifacts")),
    ]
    with peers.running(words, root / "log", f"{address}/health"):
        yield {"MLFLOW_TRACKING_URI": address}


async def test_a_version_goes_there_and_back(server: dict[str, str], tmp_path: Path) -> None:
    """The file has the same bytes, and the number is the next one."""
    path = ggufs.made(tmp_path / "tiny.gguf")
    card = tmp_path / "README.md"
    card.write_text("# tiny")
    target = sources.mlflow("mlflow:models:/tiny", server, numbered=False)
    async with server_requests.client() as http:
        for expected in ("1", "2"):
            tags = {"paddock.sha256": home_fixtures.digest(path), "licence": "mit"}
            number = await mlflow_registry.publish(
                http, target, [path, card], tags, progress=lambda _: None
            )
            assert number == expected
        source = sources.parse("mlflow:models:/tiny/2", server)
        assert isinstance(source, sources.Mlflow)
        (file,), address = await mlflow_registry.look_up(http, source)
        assert (file.file_name, address) == ("tiny.gguf", "mlflow:models:/tiny/2")
        await downloads.fetch(
            http, file, Download(tmp_path), progress=lambda *_: None, log=lambda _: None
        )
    assert Download(tmp_path).part.read_bytes() == path.read_bytes()


async def test_an_alias_and_what_is_not_there(server: dict[str, str]) -> None:
    """MLflow's own sentence says what is missing."""
    alias = {"name": "tiny", "alias": "champion", "version": "1"}
    url = f"{server['MLFLOW_TRACKING_URI']}/api/2.0/mlflow/registered-models/alias"
    async with server_requests.client() as http:
        (await http.post(url, json=alias)).raise_for_status()
        source = sources.parse("mlflow:models:/tiny@champion", server)
        assert isinstance(source, sources.Mlflow)
        assert (await mlflow_registry.look_up(http, source))[1] == "mlflow:models:/tiny/1"
        missing = sources.parse("mlflow:models:/tiny/9", server)
        assert isinstance(missing, sources.Mlflow)
        with pytest.raises(Refused, match=r"mlflow:models:/tiny/9: .*not found"):
            await mlflow_registry.look_up(http, missing)


def test_a_registry_that_is_not_encrypted_is_refused() -> None:
    """Its credentials and files would pass in the clear."""
    with pytest.raises(BadSource, match="not encrypted"):
        sources.mlflow("mlflow:models:/x/1", {"MLFLOW_TRACKING_URI": "http://example.org"})


@pytest.mark.parametrize("split", [False, True])
async def test_jobs_export_a_version_and_add_it_again(
    server: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, split: bool
) -> None:
    """The way of two boxes that share a registry: the second has the bytes of the first.

    The parts of a split model keep their names on the way.
    """
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server["MLFLOW_TRACKING_URI"])
    path = ggufs.made(tmp_path / "tiny.gguf")
    if split:
        path = split_gguf.write(tmp_path / "ops.gguf")[0]
    number = 2 if split else 1
    async with desk(tmp_path / "home") as control:
        added = await control.do(
            "models.add", "tiny", model="tiny", version="1.0.0", path=str(path)
        )
        assert added.state is State.APPLIED, added.outcome
        done = await control.do("models.export", "tiny@1.0.0", to="mlflow:models:/handed")
        assert done.outcome == f"Exported tiny@1.0.0 as mlflow:models:/handed/{number}."
        again = await control.do(
            "models.add",
            "other",
            model="other",
            version="1.0.0",
            path=f"mlflow:models:/handed/{number}",
        )
        assert again.state is State.APPLIED, again.outcome
        async with control.store.read() as s:
            one, two = await models.find(s, "tiny@1.0.0"), await models.find(s, "other@1.0.0")
    assert (two.sha256, two.source) == (one.sha256, f"mlflow:models:/handed/{number}")
    names = [[Path(each.path).name for each in version.parts] for version in (one, two)]
    assert names[0] == names[1]
    assert bool(names[0]) == split
