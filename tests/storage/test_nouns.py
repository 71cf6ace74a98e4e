"""Names, models, prompts, releases: what they are found by, and what never changes."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncSession

from storage import deployments, errors, ledger, models, names, releases
from storage.models import Kind
from storage.releases import Engine, Limits, Sampling
from storage.store import Store
from tests.storage import fixtures


@given(name=st.from_regex(names.PATTERN, fullmatch=True))
def test_a_name_that_follows_the_rule_is_taken(name: str) -> None:
    """Letters, digits, and _ . - after the first."""
    assert names.check("model", name) == name


@given(name=st.text(max_size=50))
def test_a_name_that_breaks_the_rule_is_refused_with_the_rule(name: str) -> None:
    """Any text at all: taken exactly when the rule says so, newlines and all."""
    allowed = set(string.ascii_lowercase + string.digits + "_.-")
    fits = 0 < len(name) <= 36 and set(name) <= allowed and name[0] not in "_.-"
    if fits:
        assert names.check("model", name) == name
    else:
        with pytest.raises(errors.BadName, match="1 to 36 characters"):
            names.check("model", name)


parts = st.integers(0, 10**9 - 1)
triples = st.tuples(parts, parts, parts)


@given(a=triples, b=triples)
def test_versions_are_ordered_by_number(a: tuple[int, int, int], b: tuple[int, int, int]) -> None:
    """1.10.0 comes after 1.9.0, as numbers do and texts do not."""
    first, second = (".".join(map(str, each)) for each in (a, b))
    assert models.check_version(first) == first
    assert (models.order(first) < models.order(second)) == (a < b)


@pytest.mark.parametrize(
    "version", ["1", "1.0", "v1.0.0", "1.0.0-rc1", "01.0.0", "1.0.0\n", "١.0.0"]
)
def test_other_versions_are_refused(version: str) -> None:
    """Three plain numbers and nothing else."""
    with pytest.raises(errors.Invalid, match=re.escape("MAJOR.MINOR.PATCH")):
        models.check_version(version)


async def test_a_bare_model_name_means_its_highest_version(store: Store) -> None:
    """Not the last registered one."""

    async def work(s: AsyncSession) -> list[str]:
        for version in ("1.2.0", "1.10.0", "1.9.9"):
            await fixtures.model(s, version)
        return [(await models.find(s, name)).name for name in ("ops", "ops@1.2.0")]

    assert await store.write(work) == ["ops@1.10.0", "ops@1.2.0"]
    async with store.read() as s:
        assert [each.version for each in await models.every(s)] == ["1.2.0", "1.9.9", "1.10.0"]
        with pytest.raises(errors.NotFound, match=re.escape("known: ops@1.2.0")):
            await models.find(s, "ops@3.0.0")


async def test_a_version_never_changes(store: Store) -> None:
    """Registering it again is refused, whatever the file holds now."""
    await store.write(fixtures.model)
    with pytest.raises(errors.AlreadyExists, match="take the next number"):
        await store.write(fixtures.model)


@pytest.mark.parametrize("kind", [Kind.WEIGHTS, Kind.ADAPTER])
async def test_an_adapter_has_weights_as_its_base_and_weights_have_none(
    store: Store, kind: Kind
) -> None:
    """Both ways of getting it wrong are refused, and an adapter on an adapter too."""

    async def work(s: AsyncSession) -> None:
        base = await fixtures.model(s)
        adapter = await fixtures.model(s, "1.1.0", kind=Kind.ADAPTER, base_id=base.id)
        below = None if kind is Kind.ADAPTER else base.id
        with pytest.raises(errors.Invalid, match="adapter"):
            await fixtures.model(s, "2.0.0", kind=kind, base_id=below)
        with pytest.raises(errors.Invalid, match="is an adapter"):
            await fixtures.model(s, "2.0.0", kind=Kind.ADAPTER, base_id=adapter.id)

    await store.write(work)


async def test_an_unloadable_version_says_why(store: Store) -> None:
    """Once for good; the ledger tells when."""

    async def work(s: AsyncSession) -> models.ModelVersion:
        added = await fixtures.model(s)
        for _ in range(2):
            await models.mark_unloadable(s, added.id, "not enough memory", 9)
        assert len(await ledger.of(s, "model", str(added.id))) == 1
        return await models.get(s, added.id)

    marked = await store.write(work)
    assert (marked.status, marked.status_reason) == ("unloadable", "not enough memory")


async def test_a_version_is_taken_from_where_its_file_is_now(store: Store) -> None:
    """An unloadable one may be loaded again by that; the ledger says who did it."""

    async def add_again(s: AsyncSession, path: str = "/mnt/ops.gguf") -> models.ModelVersion:
        return await models.add_again(
            s, 1, path=path, size_bytes=5, mtime_ns=6, actor="sara", at_us=10
        )

    async def work(s: AsyncSession) -> models.ModelVersion:
        added = await fixtures.model(s)
        await models.mark_unloadable(s, added.id, "torn", 9)
        return await add_again(s)

    found = await store.write(work)
    assert (found.status, found.status_reason) == ("registered", None)
    assert (found.path, found.size_bytes, found.mtime_ns) == ("/mnt/ops.gguf", 5, 6)
    assert await store.write(add_again) == found  # no change, and no entry
    moved = await store.write(lambda s: add_again(s, "/srv/ops.gguf"))
    assert (moved.path, moved.status) == ("/srv/ops.gguf", "registered")
    async with store.read() as s:
        told = await ledger.of(s, "model", "1")
        same = await models.same_file(
            s, model="ops", version="1.0.0", sha256=found.sha256, base_id=None
        )
        other = await models.same_file(
            s, model="ops", version="1.0.0", sha256="0" * 64, base_id=None
        )
    assert [(entry.actor, entry.verb, entry.after) for entry in told] == [
        ("sara", "models.add", "/srv/ops.gguf"),
        ("sara", "models.add", "registered"),
        ("node", "unloadable", "unloadable"),
    ]
    assert (same, other) == (moved, None)


async def test_what_a_worker_loads_is_found_by_its_lane(store: Store) -> None:
    """The weights, or the adapters on them whose hash begins so."""

    async def work(s: AsyncSession) -> list[list[str]]:
        base = await fixtures.model(s)
        adapter = await fixtures.model(s, "1.1.0", kind=Kind.ADAPTER, base_id=base.id)
        lanes = ("", adapter.sha256[:16], "0" * 16)
        return [[v.name for v in await models.loaded_as(s, base.id, lane)] for lane in lanes]

    assert await store.write(work) == [["ops@1.0.0"], ["ops@1.1.0"], []]


async def test_the_same_content_is_the_same_release(store: Store) -> None:
    """By any person, however numbers are written; any change is another release."""

    async def work(s: AsyncSession) -> list[int]:
        weights = await fixtures.model(s)
        terse = await fixtures.prompt(s)
        made = [
            await fixtures.release(s, weights, None, terse, sampling=Sampling(temperature=0)),
            await fixtures.release(s, weights, None, terse, sampling=Sampling(temperature=0.0)),
            await fixtures.release(s, weights, None, terse),
            await fixtures.release(s, weights),
            await fixtures.release(s, weights, engine=Engine(threads=2)),
        ]
        first = made[0]
        assert await releases.find(s, first.sha256[:6]) == first == await releases.get(s, 1)
        return [each.number for each in made]

    assert await store.write(work) == [1, 1, 2, 3, 4]


async def test_a_worker_is_named_by_what_it_loads(store: Store) -> None:
    """An adapter shares the worker of its base; other engine settings get another worker."""

    async def work(s: AsyncSession) -> list[tuple[str, bool]]:
        weights = await fixtures.model(s)
        adapter = await fixtures.model(s, "1.1.0", kind=Kind.ADAPTER, base_id=weights.id)
        made = [
            await fixtures.release(s, weights),
            await fixtures.release(s, adapter, weights),
            await fixtures.release(s, adapter, weights, engine=Engine(max_sequences=4)),
            await fixtures.release(s, weights, engine=Engine(max_sequences=4)),
        ]
        assert {each.adapter for each in made} == {"", adapter.sha256[:16]}
        return [(each.deployment, bool(each.adapter)) for each in made]

    plain, shared, tuned, tuned_plain = await store.write(work)
    assert (plain, shared) == (("ops-1.0.0", False), ("ops-1.0.0", True))
    assert tuned[0] == tuned_plain[0]
    assert re.fullmatch(r"ops-1\.0\.0-[0-9a-f]{4}", tuned[0])


async def test_two_workers_never_share_a_name(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should short hashes meet, the name grows."""
    monkeypatch.setattr(deployments, "_SUFFIXES", (0, 4))

    async def work(s: AsyncSession) -> list[str]:
        weights = await fixtures.model(s)
        engines = [Engine(threads=1), Engine(threads=2), Engine(threads=1)]
        made = [
            await fixtures.release(s, weights, engine=engine, sampling=Sampling(top_k=n))
            for n, engine in enumerate(engines)
        ]
        return [each.deployment for each in made]

    first, second, again = await store.write(work)
    assert first == again == "ops-1.0.0-"
    assert re.fullmatch(r"ops-1\.0\.0-[0-9a-f]{4}", second)


async def test_settings_out_of_range_are_refused(store: Store) -> None:
    """Here too, not only at the control socket; and a base that is not the adapter's."""

    async def work(s: AsyncSession) -> None:
        weights = await fixtures.model(s)
        with pytest.raises(errors.Invalid, match="not allowed"):
            await fixtures.release(s, weights, sampling=Sampling(top_p=3.0))
        with pytest.raises(errors.Invalid, match="do not belong together"):
            await fixtures.release(s, weights, weights)

    await store.write(work)


@pytest.mark.parametrize("name", ["r9", "r", "rx", "r" + "9" * 30, "abc", "ffffff", "%%%%%%", ""])
async def test_an_unknown_release_lists_the_known(store: Store, name: str) -> None:
    """Numbers, hashes and nonsense alike."""
    await fixtures.furnish(store)
    async with store.read() as s:
        with pytest.raises(errors.NotFound, match="known: r1, r2"):
            await releases.find(s, name)


def test_omitted_settings_use_the_defaults() -> None:
    """What the documents promise when nothing is set."""
    assert (Sampling().temperature, Limits().max_tokens, Engine().max_sequences) == (0.7, 256, 16)
