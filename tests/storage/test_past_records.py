"""Releases, replays, runs, rules, keys, upstreams and the like are at a past moment what they were.

Each story is read after every step; what is read of each moment at the end has to be the same.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from storage import (
    alert_rule_files,
    alert_rule_versions,
    errors,
    incidents,
    intents,
    keys,
    notifications,
    online_scores,
    post_mortems,
    quarantine,
    release_content,
    releases,
    replays,
    retired_releases,
    run_events,
    run_steps,
    runs,
    upstreams,
)
from storage.past import alert_rules as past_rules
from storage.past import incidents as past_incidents
from storage.past import keys as past_keys
from storage.past import notifications as past_notifications
from storage.past import prompts as past_prompts
from storage.past import quarantine as past_quarantine
from storage.past import releases as past_releases
from storage.past import replays as past_replays
from storage.past import runs as past_runs
from storage.past import scoring as past_scoring
from storage.past import upstreams as past_upstreams
from storage.run_events import Kind
from storage.run_steps import Result
from storage.runs import State, Waits
from storage.store import Session, Store
from tests.storage import fixtures
from tests.storage.stories import Work, told

BY: dict[str, Any] = {"actor": "kim", "intent_id": None}


async def test_releases_of_then_are_those_that_were_not_retired(store: Store) -> None:
    """One was created, retired and brought back; before its creation it is not found."""
    known = await fixtures.furnish(store)

    async def create(s: Session, at_us: int) -> object:
        return await releases.create(
            s, model_version=known.weights, base=None, prompt_version=None,
            sampling=release_content.Sampling(temperature=1), limits=release_content.Limits(),
            engine=release_content.Engine(), comment="", actor="kim", at_us=at_us,
        )  # fmt: skip

    async def retire(s: Session, at_us: int) -> None:
        release = await releases.find(s, "r3")
        await retired_releases.add(s, release, at_us=at_us, reason="", **BY)

    async def unretire(s: Session, at_us: int) -> None:
        release = await releases.find(s, "r3")
        await retired_releases.remove(s, release, at_us=at_us, **BY)

    async def read(s: Session) -> Any:
        every, gone = await releases.every(s), await retired_releases.every(s)
        return [each.name for each in every], gone

    story: list[Work] = [create, retire, unretire, retire]
    then = await told(store, story, read)
    async with store.read() as s:
        for at_us, (names, gone) in then.items():
            assert names == [each.name for each in await past_releases.every(s, at_us)]
            assert gone == await past_releases.retired(s, at_us)
        with pytest.raises(errors.NotFound, match="r3 had not been created then"):
            await past_releases.find(s, "r3", min(then) - 60_000_000)


async def test_replays_of_then_had_no_report_before_their_end(store: Store) -> None:
    """A replay is there from its beginning on."""
    await fixtures.furnish(store)

    async def end(s: Session, at_us: int) -> None:
        report = replays.Report(sentence="All are the same.")
        await replays.end(s, await replays.find(s, 1), report, at_us=at_us)

    async def read(s: Session) -> Any:
        return [(each.id, each.report, each.ended_at_us) for each in await replays.tail(s)]

    story: list[Work] = [
        lambda s, at_us: replays.add(
            s, kind=replays.Kind.SAMPLE, service="support", releases=[2], sample=3, at_us=at_us,
            **BY,
        ),
        end,
    ]  # fmt: skip
    then = await told(store, story, read)
    async with store.read() as s:
        for at_us, known in then.items():
            found = await past_replays.tail(s, at_us)
            assert known == [(each.id, each.report, each.ended_at_us) for each in found]
        assert await past_replays.tail(s, 1) == []
        assert await past_replays.counts(s, [1], 1) == {}


def _act(kind: Kind, step: str | None = None) -> Work:
    async def add(s: Session, at_us: int) -> None:
        await run_events.add(s, 1, kind, "", actor="runner", at_us=at_us, step=step, intent_id=1)

    return add


async def test_runs_of_then_wait_where_they_waited_and_are_held_by_who_held_them(
    store: Store,
) -> None:
    """A run that waited, was handed over, was walked on and ended; its steps had not all ended."""

    async def begin(s: Session, at_us: int) -> object:
        for _ in range(3):
            await intents.accept(
                s, actor="kim", role="operator", verb="runbooks.start", target="x", arguments={},
                at_us=at_us,
            )  # fmt: skip
        return await runs.begin(
            s, runbook="high-latency", intent_id=1, actor="kim", inputs={}, content="c", at_us=at_us
        )

    async def stay(s: Session, at_us: int) -> None:
        await run_steps.note(s, 1, "cap", 1, at_us, looked=3)
        await _act(Kind.WAITS, "cap")(s, at_us)
        await runs.stay(s, await runs.find(s, 1), Waits.NEXT, "cap", at_us=at_us)

    async def hold(s: Session, at_us: int) -> None:
        run = await runs.find(s, 1)
        await runs.hold(s, run, "ann", actor="kim", at_us=at_us, intent_id=2)

    async def resume(s: Session, at_us: int) -> object:
        return await runs.resume(
            s, await runs.find(s, 1), driver=3, actor="ann", at_us=at_us, pace=runs.Pace.STEP
        )

    async def act(s: Session, at_us: int) -> None:
        await run_steps.change(
            s, 1, "cap", sentence="Capped.", ended_at_us=at_us, outcome=Result.DONE
        )

    async def read(s: Session) -> Any:
        run = await runs.find(s, 1)
        return (
            (run.state, run.taken_by, run.waits_at, run.reason, run.ended_at_us),
            [(each.name, each.looked, each.sentence) for each in await run_steps.of(s, 1)],
            len(await run_events.of(s, 1)),
        )

    story: list[Work] = [
        begin,
        stay, hold, resume, act,
        lambda s, at_us: runs.end(s, 1, State.DONE, reason="It is done.", at_us=at_us),
    ]  # fmt: skip
    then = await told(store, story, read)
    async with store.read() as s:
        for at_us, known in then.items():
            (run,) = await past_runs.tail(s, at_us)
            steps = await past_runs.steps_of(s, 1, at_us)
            assert known == (
                (run.state, run.taken_by, run.waits_at, run.reason, run.ended_at_us),
                [(each.name, each.looked, each.sentence) for each in steps],
                len(await past_runs.events_of(s, 1, at_us)),
            )
        with pytest.raises(errors.NotFound, match="had not begun then"):
            await past_runs.find(s, 1, 1)


async def test_alert_rules_of_then_are_those_in_force(store: Store) -> None:
    """One was changed, removed and shipped again, another one was added."""
    name = next(iter(alert_rule_files.shipped()))
    own = msgspec.structs.replace(alert_rule_files.shipped()[name], name="own")

    async def read(s: Session) -> Any:
        return await alert_rule_versions.in_force(s)

    story: list[Work] = [
        lambda s, at_us: alert_rule_versions.remove(s, name, at_us=at_us, **BY),
        lambda s, at_us: alert_rule_versions.set(s, own, at_us=at_us, **BY),
        lambda s, at_us: alert_rule_versions.reset(s, name, at_us=at_us, **BY),
    ]
    then = await told(store, story, read)
    async with store.read() as s:
        for at_us, known in then.items():
            assert known == await past_rules.in_force(s, at_us)
        with pytest.raises(errors.NotFound, match="There was no alert rule own then"):
            await past_rules.history(s, "own", 1)


async def test_keys_upstreams_scoring_and_quarantine_of_then_are_as_they_were(store: Store) -> None:
    """What was revoked, removed, switched off or lifted later was there."""
    await fixtures.furnish(store)
    prompt: dict[str, Any] = {"kind": quarantine.Kind.PROMPT, "subject": "terse@1", "reason": "r"}
    story: list[Work] = [
        lambda s, at_us: keys.add(
            s, name="shop", prefix="pk-shop", role=keys.Role.CLIENT, mac="0" * 64, tenant="acme",
            synthetic=False, at_us=at_us, **BY,
        ),
        lambda s, at_us: upstreams.add(
            s, name="vllm", url="http://127.0.0.1:8000/v1", secret="0" * 32, at_us=at_us, **BY
        ),
        lambda s, at_us: online_scores.set(s, "support", 1_000, at_us=at_us, **BY),
        lambda s, at_us: quarantine.add(s, key="k", at_us=at_us, **prompt),
        lambda s, at_us: keys.revoke(s, "shop", at_us=at_us, **BY),
        lambda s, at_us: upstreams.rekey(s, "vllm", None, at_us=at_us, **BY),
        lambda s, at_us: online_scores.set(s, "support", 0, at_us=at_us, **BY),
        lambda s, at_us: quarantine.lift(s, "terse@1", at_us=at_us, **BY),
        lambda s, at_us: upstreams.remove(s, "vllm", at_us=at_us, **BY),
        lambda s, at_us: quarantine.add(s, key="k", at_us=at_us, **prompt),
    ]  # fmt: skip

    async def read(s: Session) -> Any:
        return (
            [(each.name, each.revoked_at_us) for each in await keys.every(s)],
            [(each.name, each.url, each.secret is None) for each in await upstreams.every(s)],
            [(each.service, each.share_bp) for each in await online_scores.every(s)],
            [(each.subject, each.kind, each.at_us) for each in await quarantine.every(s)],
        )

    then = await told(store, story, read)
    async with store.read() as s:
        for at_us, known in then.items():
            servers = await past_upstreams.every(s, at_us)
            assert known == (
                [(each.name, each.revoked_at_us) for each in await past_keys.every(s, at_us)],
                [(each.name, each.url, each.secret is None) for each in servers],
                [(each.service, each.share_bp) for each in await past_scoring.every(s, at_us)],
                [(e.subject, e.kind, e.at_us) for e in await past_quarantine.every(s, at_us)],
            )


async def test_notifications_of_then_had_not_been_accepted_yet(store: Store) -> None:
    """What was being sent, or waited for another try, is shown as queued."""
    message: dict[str, Any] = {
        "receiver": "ops", "group_key": "k", "status": "firing", "title": "t", "text": "",
        "body": "",
    }  # fmt: skip

    async def fail(s: Session, at_us: int) -> None:
        await notifications.claim(s, 1)
        (known,) = await notifications.tail(s)
        await notifications.failed(s, known, "no answer", at_us=at_us, after_us=None)

    async def send(s: Session, at_us: int) -> None:
        await notifications.claim(s, 1)
        await notifications.sent(s, 1, at_us=at_us)

    async def read(s: Session) -> Any:
        return [(each.id, each.state, each.ended_at_us) for each in await notifications.tail(s)]

    story: list[Work] = [lambda s, at_us: notifications.queue(s, at_us=at_us, **message), fail]
    story.append(send)
    then = await told(store, story, read)
    async with store.read() as s:
        for at_us, known in then.items():
            found = await past_notifications.tail(s, at_us)
            assert known == [(each.id, each.state, each.ended_at_us) for each in found]
            assert all(
                each.next_at_us == each.created_at_us for each in found if each.ended_at_us is None
            )
        assert await past_notifications.tail(s, 1) == []


async def test_action_items_of_then_were_open_until_they_were_done(store: Store) -> None:
    """Of one incident and of all."""

    async def incident(s: Session) -> incidents.Incident:
        return await incidents.find(s, 1)

    async def add(s: Session, at_us: int) -> object:
        return await post_mortems.add_item(s, await incident(s), "alert", "kim", at_us=at_us, **BY)

    async def finish(s: Session, at_us: int) -> None:
        await post_mortems.finish_item(s, await incident(s), 1, at_us=at_us, **BY)

    async def read(s: Session) -> Any:
        return [[each.id for each in await post_mortems.items(s, of)] for of in (None, 1)]

    story: list[Work] = [
        lambda s, at_us: incidents.open_up(
            s, title="t", severity=incidents.Severity.SEV2, service=None, began_at_us=at_us,
            at_us=at_us, **BY,
        ),
        add, finish,
    ]  # fmt: skip
    then = await told(store, story, read)
    async with store.read() as s:
        for at_us, known in then.items():
            found = [await past_incidents.items(s, at_us, of) for of in (None, 1)]
            assert known == [[each.id for each in some] for some in found]
        with pytest.raises(errors.NotFound, match="INC-1 had not been opened then"):
            await past_incidents.find(s, 1, 1)


async def test_a_prompt_is_found_by_the_label_of_then(store: Store) -> None:
    """Its uses are the releases and the weights of then."""
    await fixtures.furnish(store)
    async with store.read() as s:
        assert await past_prompts.uses(s, "terse", None, 3) != []
        assert [each.serves for each in await past_prompts.uses(s, "terse", None, 3)] == [{}, {}]
        (candidate, stable) = await past_prompts.uses(s, "terse", None, 5)
        assert (stable.serves, candidate.serves) == ({"support": 10_000}, {})
        with pytest.raises(errors.NotFound, match="had not been added then"):
            await past_prompts.find(s, "terse@1", 1)
        with pytest.raises(errors.NotFound, match="no prompt terse:production then"):
            await past_prompts.find(s, "terse", 2)
