"""What is in memory, set beside the registry."""

from __future__ import annotations

import msgspec
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from storage import loaded, models, processes
from storage.loaded import How, Loaded
from storage.models import Kind
from storage.processes import State
from storage.runtime.file_identity import Identity
from storage.store import Store
from tests.storage import fixtures


async def test_memory_that_is_as_registered_has_no_differences(store: Store) -> None:
    """The weights, the template, and adapters that are registered on these weights."""

    async def work(s: AsyncSession) -> None:
        weights = await fixtures.model(s)
        adapter = await fixtures.model(s, "1.1.0", kind=Kind.ADAPTER, base_id=weights.id)
        known = Loaded(weights=weights.sha256, how=How.BOUND, adapters={"a": adapter.sha256})
        assert loaded.differences(known, weights, [adapter]) == []

    await store.write(work)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"weights": "f" * 64}, "the weights in memory are ffffffffffffffff…, ops@1.0.0 is"),
        ({"template": "f" * 64}, "the chat template in memory is ffffffffffffffff…"),
        ({"template": ""}, "the chat template in memory is none"),
        (
            {"adapters": {"a": "f" * 64}},
            "the adapter ffffffffffffffff… in memory is not registered",
        ),
        ({"missing": "/models/x.gguf"}, "its file is gone: /models/x.gguf"),
    ],
)
async def test_each_difference_is_a_sentence(
    store: Store, changes: dict[str, object], said: str
) -> None:
    """It names the hash in memory and the version that it differs from."""

    async def work(s: AsyncSession) -> None:
        weights = msgspec.structs.replace(await fixtures.model(s), template_sha256="a" * 64)
        known = Loaded(weights=weights.sha256, how=How.HASHED, template="a" * 64)
        changed = msgspec.structs.replace(known, **changes)
        assert loaded.differences(known, weights, []) == []
        (sentence,) = loaded.differences(changed, weights, [])
        assert said in sentence

    await store.write(work)


async def test_the_evidence_of_an_instance_ends_with_its_process(store: Store) -> None:
    """A new process has proved nothing yet."""
    known = Loaded(weights="a" * 64, how=How.BOUND, adapters={"1": "b" * 64})

    async def work(s: AsyncSession) -> None:
        kept = msgspec.json.encode(known).decode()
        await processes.declare(s, name="ops:1", kind=processes.Kind.WORKER, at_us=1)
        await processes.move(s, "ops:1", State.READY, at_us=2, loaded=kept)
        assert [each.loaded for each in await processes.every(s)] == [known]
        await processes.move(s, "ops:1", State.CRASHED, at_us=3)
        await processes.declare(s, name="ops:1", kind=processes.Kind.WORKER, at_us=4)
        assert [each.loaded for each in await processes.every(s)] == [None]

    await store.write(work)


async def test_a_file_that_was_verified_again_is_recognised_by_what_it_is_now(store: Store) -> None:
    """Its hash does not change."""

    async def work(s: AsyncSession) -> None:
        version = await fixtures.model(s)
        await models.note_verified(s, version.id, [Identity(5, 6, 7)])
        after = await models.get(s, version.id)
        assert (after.size_bytes, after.mtime_ns, after.inode) == (5, 6, 7)
        assert after.sha256 == version.sha256

    await store.write(work)
