"""A model in several files is one version: all parts, each checked by itself, or nothing."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import gguf
import pytest

from engine.registry import gguf_header, split_names
from engine.registry.sources import BadSource
from storage import intents, models, unused_models
from storage import store as stores
from storage.home import paths as homes
from storage.home import secrets
from storage.home.paths import Home
from storage.jobs import State
from storage.models import Kind
from storage.runtime import file_identity
from tests.engine.control.desks import desk
from tests.engine.jobs import run_jobs
from tests.engine.jobs.test_add_model import Registry
from tests.engine.registry import hub as hubs
from tests.engine.registry import split_gguf
from tests.engine.registry.hub import Hub
from tests.home_fixtures import ADAPTER, WEIGHTS, digest


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The shipped model in four parts, to be copied and not changed."""
    return split_gguf.write(tmp_path_factory.mktemp("split") / "ops.gguf")


@pytest.fixture
def parts(made: list[Path], tmp_path: Path) -> list[Path]:
    """The parts as separate files."""
    return [Path(shutil.copy(each, tmp_path)) for each in made]


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    """An empty one."""
    store = await stores.open(homes.make(Home(tmp_path / "home")))
    yield Registry(store)
    await store.close()


@pytest.fixture
def hub(made: list[Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub with the parts."""
    content = {each.name: each.read_bytes() for each in made}
    with hubs.serving(Hub(b"", content)) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.address)
        yield served


def test_any_part_names_all_of_them() -> None:
    """In a path, in a URL, before the revision of a Hub."""
    assert split_names.every("/a/x.gguf") == ("/a/x.gguf",)
    assert split_names.every("/a/x-00001-of-00001.gguf") == ("/a/x-00001-of-00001.gguf",)
    assert split_names.every("hf://o/r/d/x-00002-of-00002.gguf@refs/pr/1") == (
        "hf://o/r/d/x-00001-of-00002.gguf@refs/pr/1",
        "hf://o/r/d/x-00002-of-00002.gguf@refs/pr/1",
    )
    for number, count in (("00000", "00002"), ("00003", "00002"), ("00001", "99999")):
        with pytest.raises(BadSource, match="part"):
            split_names.every(f"/a/x-{number}-of-{count}.gguf")


async def test_the_parts_in_a_directory_are_one_version(
    registry: Registry, parts: list[Path]
) -> None:
    """With the facts of the unsplit file, and what a load takes; each part has its own hash."""
    job = await registry.add(parts[2])
    assert job.state is State.SUCCEEDED, job.reason
    version = (await registry.versions())["x@1.0.0"]
    assert [(each.path, each.sha256) for each in version.parts] == [
        (str(each), digest(each)) for each in parts
    ]
    assert version.sha256 == file_identity.whole([digest(each) for each in parts])
    assert (version.path, version.source) == (str(parts[0]), None)
    assert version.size_bytes == sum(each.stat().st_size for each in parts)
    whole = gguf_header.read(WEIGHTS)
    assert (version.parameters, version.quantisation, version.kind) == (
        whole.parameters,
        whole.quantisation,
        Kind.WEIGHTS,
    )
    assert version.memory is not None
    job = await registry.add(WEIGHTS, model="y")
    unsplit = (await registry.versions())["y@1.0.0"]
    assert unsplit.memory is not None
    assert version.memory.points == unsplit.memory.points
    assert version.memory.weights_bytes == unsplit.memory.weights_bytes


async def test_a_first_part_without_tensors_is_taken(registry: Registry, tmp_path: Path) -> None:
    """As `llama-gguf-split --no-tensor-first-split` writes it."""
    bare = split_gguf.write(tmp_path / "bare.gguf", bare=True)
    assert not gguf.GGUFReader(bare[0]).tensors
    job = await registry.add(bare[0])
    assert job.state is State.SUCCEEDED, job.reason
    assert len((await registry.versions())["x@1.0.0"].parts) == 5


async def test_an_adapter_fits_a_base_in_parts(registry: Registry, parts: list[Path]) -> None:
    """Its tensors are looked for in all of them."""
    await registry.add(parts[0])
    job = await registry.add(ADAPTER, version="1.1.0", base="x@1.0.0", kind="adapter")
    assert job.state is State.SUCCEEDED, job.reason


def _missing(parts: list[Path]) -> None:
    parts[2].unlink()


def _truncated(parts: list[Path]) -> None:
    with parts[1].open("r+b") as file:
        file.truncate(parts[1].stat().st_size - 4096)


def _swapped(parts: list[Path]) -> None:
    parts[1].rename(parts[1].with_name("aside"))
    shutil.copy(parts[2], parts[1])


def _stray(parts: list[Path]) -> None:
    shutil.copy(parts[0], parts[0].with_name("ops-00005-of-00004.gguf"))


def _foreign(parts: list[Path]) -> None:
    """The first part is one of a split with other bounds: the tensors do not add up."""
    directory = parts[0].parent / "other"
    directory.mkdir()
    shutil.copy(split_gguf.write(directory / "ops.gguf", tensors=10)[0], parts[0])


def _whole(parts: list[Path]) -> None:
    shutil.copy(WEIGHTS, parts[3])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_missing, "ops-00003-of-00004.gguf cannot be read: No such file"),
        (_truncated, "part ops-00002-of-00004.gguf: it is truncated"),
        (_swapped, "part ops-00002-of-00004.gguf: its header says that it is part 3, and its name"),
        (_stray, "ops-00005-of-00004.gguf claims to be a further part of"),
        (_foreign, "its parts hold 36 tensors together, and its header announces 38"),
        (_whole, "part ops-00004-of-00004.gguf: its header does not say that it is part of"),
    ],
)
async def test_parts_that_are_not_one_model_are_refused_by_name(
    registry: Registry, parts: list[Path], damage: object, said: str
) -> None:
    """Before anything is hashed; no version is left."""
    damage(parts)  # type: ignore[operator]
    job = await registry.add(parts[0])
    assert job.state is State.FAILED
    assert said in (job.reason or "")
    assert await registry.versions() == {}


async def test_a_part_under_a_name_that_hides_it_is_refused(
    registry: Registry, parts: list[Path]
) -> None:
    """With how the parts have to be called."""
    parts[0].rename(parts[0].with_name("model.gguf"))
    job = await registry.add(parts[0].with_name("model.gguf"))
    assert "it is one of 4 parts of a split model" in (job.reason or "")
    assert "NAME-00001-of-00004.gguf" in (job.reason or "")


async def test_the_parts_of_a_hub_land_together_under_their_hash(
    registry: Registry, hub: Hub
) -> None:
    """All of one commit, under the names by which libllama finds them."""
    job = await registry.add("hf://acme/tiny/ops-00002-of-00004.gguf")
    assert job.state is State.SUCCEEDED, job.reason
    version = (await registry.versions())["x@1.0.0"]
    assert version.source == f"hf://acme/tiny/ops-00001-of-00004.gguf@{hubs.COMMIT}"
    assert registry.kept() == [f"{version.sha256}/{name}" for name in sorted(hub.more)]
    assert [Path(each.path).read_bytes() for each in version.parts] == [*hub.more.values()]
    heads = [each.path for each in hub.requests if each.method == "HEAD"]
    assert [hubs.COMMIT in each for each in heads] == [False, True, True, True]


async def test_all_parts_are_exported_and_freed_together(
    tmp_path: Path, made: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the names that they came with; what was exported can be added again."""
    content = {each.name: each.read_bytes() for each in made}
    async with desk(tmp_path / "home") as control:
        with hubs.serving(Hub(b"", content)) as served:
            monkeypatch.setenv("HF_ENDPOINT", served.address)
            where = "hf://acme/tiny/ops-00001-of-00004.gguf"
            added = await control.do("models.add", "x", model="x", version="1.0.0", path=where)
        assert added.state is intents.State.APPLIED, added.outcome
        to = tmp_path / "out"
        await control.do("models.export", "x@1.0.0", to=str(to))
        names = sorted(path.name for path in to.glob("*.gguf"))
        assert names == [each.name for each in made]
        listed = (to / "SHA256SUMS").read_text().splitlines()
        assert listed == [f"{digest(to / name)}  {name}" for name in names]
        again = await control.do(
            "models.add", "y", model="y", version="1.0.0", path=str(to / names[0])
        )
        assert again.state is intents.State.APPLIED, again.outcome
        async with control.store.read() as s:
            one, two = await models.find(s, "x@1.0.0"), await models.find(s, "y@1.0.0")
            (unused,) = unused_models.find(
                control.store.home, await unused_models.needs(s), also=[one.id, two.id]
            )
        assert (unused.sha256, unused.size_bytes) == (one.sha256, one.size_bytes)
        assert two.sha256 == one.sha256
        removed = await control.do("models.remove", "y@1.0.0")
        assert "is yours and stays" in (removed.outcome or "")
        await control.do("models.remove", "x@1.0.0")
        await run_jobs.run(control.store)
        assert not (control.store.home.models / one.sha256).exists()
        assert sorted(to.glob("*.gguf")) == [to / name for name in names]


async def test_a_download_that_dies_in_a_part_resumes_in_it(registry: Registry, hub: Hub) -> None:
    """The parts before it are not downloaded again."""
    hub.faults.extend(["", "", "cut"])
    hub.cut_at = 0.99
    job = await registry.add("hf://acme/tiny/ops-00001-of-00004.gguf")
    assert (job.state, job.failures) == (State.QUEUED, 1)
    job = await run_jobs.attempt(registry.store, job)
    assert job.state is State.SUCCEEDED, job.reason
    third = len(hub.more["ops-00003-of-00004.gguf"])
    asked = [(each.path[5:15], each.headers.get("range", "")) for each in hub.asked_for_bytes()]
    assert asked == [
        ("ops-00001-", ""),
        ("ops-00002-", ""),
        ("ops-00003-", ""),
        ("ops-00003-", f"bytes={int(third * 0.99)}-"),
        ("ops-00004-", ""),
    ]


async def test_the_parts_behind_an_address_get_its_query(registry: Registry, hub: Hub) -> None:
    """It may be the token without which the server gives none of them."""
    reference = secrets.deposit(registry.home, "token=t0ps3cret")
    job = await registry.add(f"{hub.address}/plain/ops-00003-of-00004.gguf", secret=reference)
    assert job.state is State.SUCCEEDED, job.reason
    version = (await registry.versions())["x@1.0.0"]
    assert version.source == f"{hub.address}/plain/ops-00001-of-00004.gguf"
    assert [Path(each.path).name for each in version.parts] == [*hub.more]
    assert {each.path.partition("?")[2] for each in hub.requests} == {"token=t0ps3cret"}


async def test_a_part_that_is_missing_at_its_source_is_named_before_any_download(
    registry: Registry, hub: Hub
) -> None:
    """Of the Hub, of a server, and of a file system of fsspec."""
    del hub.more["ops-00004-of-00004.gguf"]
    job = await registry.add("hf://acme/tiny/ops-00001-of-00004.gguf")
    assert "ops-00004-of-00004.gguf" in (job.reason or "")
    assert "the repository has no such file" in (job.reason or "")
    job = await registry.add(f"{hub.address}/plain/ops-00002-of-00004.gguf")
    assert "/plain/ops-00004-of-00004.gguf: there is no such file" in (job.reason or "")
    job = await registry.add("memory://nowhere/ops-00001-of-00004.gguf")
    assert "ops-00001-of-00004.gguf: there is no such file" in (job.reason or "")
    assert hub.asked_for_bytes() == []


async def test_a_part_that_is_not_the_announced_one_is_not_kept(
    registry: Registry, hub: Hub
) -> None:
    """The sentence names it; the others are not kept either."""
    hub.sha256 = hashlib.sha256(hub.more["ops-00001-of-00004.gguf"]).hexdigest()
    job = await registry.add("hf://acme/tiny/ops-00001-of-00004.gguf")
    assert job.state is State.FAILED
    assert f"ops-00002-of-00004.gguf@{hubs.COMMIT} is not the file that was announced" in (
        job.reason or ""
    )
    assert (await registry.versions(), registry.kept()) == ({}, [])


async def test_the_hash_that_is_asked_for_is_that_of_the_whole(
    registry: Registry, parts: list[Path]
) -> None:
    """As `sha256sum NAME-*.gguf | cut -c -64 | sha256sum` prints it."""
    listed = "".join(f"{digest(each)}\n" for each in parts)
    whole = hashlib.sha256(listed.encode()).hexdigest()
    job = await registry.add(parts[0], sha256=digest(parts[0]))
    assert f"its SHA-256 is {whole}" in (job.reason or "")
    job = await registry.add(parts[0], sha256=whole)
    assert job.state is State.SUCCEEDED, job.reason
