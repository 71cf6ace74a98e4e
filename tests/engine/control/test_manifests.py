"""Applying a manifest: a service as a whole or not at all, and nothing where nothing changes."""

from __future__ import annotations

from typing import Any

import pytest

from app import manifest_effect
from storage import ledger, manifests, releases, rollouts, services
from storage.control_socket import verbs
from storage.intents import State
from storage.rollout_steps import OnLabel
from tests.engine.control.desks import Desk

WARM = {"model": "ops@1.0.0", "sampling": {"temperature": 0.9}}
COOL = {"model": "ops@1.0.0", "sampling": {"temperature": 0.1}}


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


CANARY: dict[str, Any] = {
    "strategy": "canary",
    "steps": [
        {"type": "set_weight", "weight_bp": 500},
        {"type": "analysis"},
        {"type": "set_weight", "weight_bp": 10_000},
        {"type": "analysis"},
    ],
}


async def change_of(desk: Desk, name: str, **asked: Any) -> manifests.Change:
    """What applying this would do now."""
    parsed: verbs.manifests.Apply = verbs.parse("manifests.apply", asked)
    async with desk.store.read() as s:
        return await manifests.change(s, name, parsed)


async def test_with_a_policy_a_manifest_starts_a_rollout_and_starts_it_once(
    furnished: Desk,
) -> None:
    """Applied again during the rollout it changes nothing; the service keeps the policy."""
    wanted = arms((10_000, WARM))
    done = await furnished.do("manifests.apply", "support", 1, arms=wanted, rollout=CANARY)
    assert done.state is State.APPLIED, done.outcome
    assert "Started rollout 1 of support: r1 → r3 in 4 steps" in (done.outcome or "")
    assert await weights(furnished, "support") == {1: 10_000, 3: 0}
    before = await count(furnished)
    again = await furnished.do("manifests.apply", "support", arms=wanted, rollout=CANARY)
    assert (again.outcome or "").startswith("Rollout 1 of support leads to r3 already: ")
    assert (again.outcome or "").endswith("; no change.")
    async with furnished.store.read() as s:
        assert len(await rollouts.tail(s)) == 1
        policy = (await services.find(s, "support")).rollout_policy
    assert policy is not None
    assert policy.words == ("canary: 5 %, analysis of at most 1 h, 100 %, analysis of at most 1 h")
    change = await change_of(furnished, "support", arms=wanted, rollout=CANARY)
    assert change.nothing
    assert manifest_effect.lines(change)[0].startswith("support  unchanged: Rollout 1 of support")
    assert before == await count(furnished)
    texts = await furnished.do(
        "manifests.apply", "support", arms=wanted, rollout=CANARY, record_text=True
    )
    assert (texts.outcome or "").endswith("; texts are recorded.")


async def test_a_rollout_that_was_taken_back_is_not_started_again_by_its_manifest(
    furnished: Desk,
) -> None:
    """A manifest that is applied every five minutes would otherwise expose users again and again.

    Another content is another release, and has its own rollout.
    """
    wanted = arms((10_000, WARM))
    await furnished.do("manifests.apply", "support", 1, arms=wanted, rollout=CANARY)
    await furnished.do("rollouts.abort", "support", rollout=1)
    refused = await furnished.do("manifests.apply", "support", arms=wanted, rollout=CANARY)
    assert refused.state is State.REFUSED
    assert refused.outcome == (
        "Rollout 1 of support to r3 is aborted: kim aborted it: because. "
        "A manifest does not start it again; `paddock rollouts retry support` does."
    )
    change = await change_of(furnished, "support", arms=wanted, rollout=CANARY)
    assert not change.nothing
    assert refused.outcome in manifest_effect.lines(change)[1]
    other = await furnished.do(
        "manifests.apply", "support", arms=arms((10_000, COOL)), rollout=CANARY
    )
    assert "Started rollout 2 of support: r1 → r4" in (other.outcome or "")


async def test_a_rollout_to_another_release_is_not_replaced_by_a_manifest(furnished: Desk) -> None:
    """Nor is one that a person started; the manifest leaves no release behind."""
    await furnished.do("rollouts.start", "support", release="r2")
    before = await count(furnished)
    for policy in (CANARY, None):
        refused = await furnished.do(
            "manifests.apply", "support", arms=arms((10_000, WARM)), rollout=policy
        )
        assert refused.state is State.REFUSED
        assert "rollout 1 owns the split of support" in (refused.outcome or "")
    assert before == await count(furnished)


async def test_a_policy_alone_is_set_and_unset(furnished: Desk) -> None:
    """A new service begins at once; without the section later releases come at once again."""
    wanted = arms((10_000, WARM))
    made = await furnished.do("manifests.apply", "chat", 0, arms=wanted, rollout={})
    assert made.state is State.APPLIED, made.outcome
    assert await weights(furnished, "chat") == {3: 10_000}
    line = manifest_effect.lines(await change_of(furnished, "chat", arms=wanted))[1]
    assert line.startswith("  releases  canary: 5 %, analysis of at most 1 h, 50 %, ")
    assert line.endswith(" → at once")
    unset = await furnished.do("manifests.apply", "chat", arms=wanted)
    assert unset.state is State.APPLIED
    async with furnished.store.read() as s:
        assert (await services.find(s, "chat")).rollout_policy is None
        assert await rollouts.tail(s) == []


async def test_how_labels_are_followed_is_set_and_kept_where_nothing_is_said(
    furnished: Desk,
) -> None:
    """A manifest from before that says nothing changes nothing."""

    async def on_label() -> OnLabel:
        async with furnished.store.read() as s:
            return (await services.find(s, "chat")).on_label

    wanted: dict[str, Any] = {"arms": arms((10_000, WARM))}
    made = await furnished.do("manifests.apply", "chat", 0, **wanted, on_label="canary")
    assert made.state is State.APPLIED, made.outcome
    assert await on_label() is OnLabel.CANARY
    assert (await change_of(furnished, "chat", **wanted)).nothing
    change = await change_of(furnished, "chat", **wanted, on_label="at_once")
    assert manifest_effect.lines(change)[1] == "  labels  canary → at_once"
    kept = await furnished.do("manifests.apply", "chat", **wanted)
    assert "no change" in (kept.outcome or "")
    assert await on_label() is OnLabel.CANARY
    await furnished.do("manifests.apply", "chat", **wanted, on_label="at_once")
    assert await on_label() is OnLabel.AT_ONCE
    await furnished.do("manifests.apply", "fresh", 0, **wanted, on_label="at_once")
    async with furnished.store.read() as s:
        assert [each.verb for each in await ledger.of(s, "service", "fresh")] == ["services.create"]


def test_a_rollout_leads_to_one_release() -> None:
    """A manifest with several arms sets their split at once."""
    several = {"arms": arms((5000, WARM), (5000, COOL)), "rollout": CANARY}
    with pytest.raises(verbs.BadArguments, match="leads to one release"):
        verbs.parse("manifests.apply", several)
