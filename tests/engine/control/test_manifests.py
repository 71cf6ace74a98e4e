"""Applying a manifest: a service as a whole or not at all, and nothing where nothing changes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from storage import manifests, releases, services
from storage.control_socket import verbs
from storage.intents import State
from tests.engine.control.test_intents import Desk, desk

WARM = {"model": "ops@1.0.0", "sampling": {"temperature": 0.9}}
COOL = {"model": "ops@1.0.0", "sampling": {"temperature": 0.1}}


@pytest_asyncio.fixture
async def furnished(tmp_path: Path) -> AsyncIterator[Desk]:
    """Control on a store with a model and the service `support` on r1."""
    async with desk(tmp_path / "home", furnished=True) as made:
        yield made


def arms(*given: tuple[int, dict[str, Any]]) -> list[dict[str, Any]]:
    """Arms of a manifest by their weights in basis points."""
    return [{"weight_bp": points, "release": release} for points, release in given]


async def count(desk: Desk) -> int:
    """The number of releases."""
    async with desk.store.read() as s:
        return len(await releases.every(s))


async def weights(desk: Desk, name: str) -> dict[int, int]:
    """The split of a service."""
    async with desk.store.read() as s:
        found = (await services.find(s, name)).split.arms
    return {arm.release: arm.weight_bp for arm in found}


async def test_a_manifest_makes_a_service_and_its_releases_once(furnished: Desk) -> None:
    """Applied again it changes nothing: no release, no split, no entry in the ledger."""
    wanted = arms((9000, WARM), (1000, COOL))
    before = await count(furnished)
    made = await furnished.do("manifests.apply", "chat", 0, arms=wanted, record_text=True)
    assert made.state is State.APPLIED, made.outcome
    assert before + 2 == await count(furnished)
    assert sorted((await weights(furnished, "chat")).values()) == [1000, 9000]
    async with furnished.store.read() as s:
        first = await services.find(s, "chat")
    assert first.record_text
    again = await furnished.do("manifests.apply", "chat", arms=wanted, record_text=True)
    assert again.outcome == "chat is what the manifest says already; no change."
    async with furnished.store.read() as s:
        assert first == await services.find(s, "chat")
    assert before + 2 == await count(furnished)


async def test_an_arm_that_cannot_be_leaves_nothing_behind(furnished: Desk) -> None:
    """The release of the first arm, which could be created, is not kept either."""
    before, split = await count(furnished), await weights(furnished, "support")
    wanted = arms((5000, WARM), (5000, {"model": "ops@9.9.9"}))
    refused = await furnished.do("manifests.apply", "support", arms=wanted)
    assert refused.state is State.REFUSED
    assert "ops@9.9.9" in (refused.outcome or "")
    assert (before, split) == (await count(furnished), await weights(furnished, "support"))


async def test_a_frozen_service_keeps_its_split_its_texts_and_gets_no_release(
    furnished: Desk,
) -> None:
    """The refusal quotes the freeze."""
    before = await count(furnished)
    await furnished.do("services.freeze", "support")
    refused = await furnished.do(
        "manifests.apply", "support", arms=arms((10_000, WARM)), record_text=True
    )
    assert refused.state is State.REFUSED
    assert "frozen" in (refused.outcome or "")
    assert before == await count(furnished)
    async with furnished.store.read() as s:
        assert not (await services.find(s, "support")).record_text


@pytest.mark.parametrize("saw", [0, 7])
async def test_a_service_that_changed_since_the_person_looked_stays(
    furnished: Desk, saw: int
) -> None:
    """It is not overwritten, neither by who saw another version nor by who saw none."""
    split = await weights(furnished, "support")
    late = await furnished.do("manifests.apply", "support", saw, arms=arms((10_000, WARM)))
    assert late.state is State.REFUSED
    assert "changed since you looked" in (late.outcome or "")
    assert split == await weights(furnished, "support")


async def test_a_change_says_beforehand_what_applying_does(furnished: Desk) -> None:
    """A release with the same content is found, and a new one differs from what answers now."""
    wanted: verbs.manifests.Apply = verbs.parse(
        "manifests.apply", {"arms": arms((10_000, WARM)), "record_text": True}
    )
    async with furnished.store.read() as s:
        change = await manifests.change(s, "support", wanted)
    assert (change.split, change.texts, change.arms[0].release) == (True, True, None)
    assert "sampling.temperature" in {each.field for each in change.arms[0].differences}
    await furnished.do("manifests.apply", "support", arms=arms((10_000, WARM)), record_text=True)
    async with furnished.store.read() as s:
        after = await manifests.change(s, "support", wanted)
    assert after.nothing
    assert after.arms[0].release is not None
