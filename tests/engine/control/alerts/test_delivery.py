"""The outbox reaches its receivers: late, again, in order, and never as news twice."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Final

import pytest

from engine.control.alerts import delivery
from engine.webhooks import call
from storage import alerts, blocked_addresses, errors, notifications, receivers
from storage.notifications import NotificationRow, State
from storage.store import Session
from tests.engine.control.alerts.outboxes import made
from tests.engine.execution import disks
from tests.engine.webhooks import hooks
from tests.engine.webhooks.hooks import Does

MINUTE_US: Final = 60_000_000
REFUSED: Final = hooks.answer(503)


async def test_an_alert_is_told_as_alertmanager_tells_it_and_so_is_its_end(tmp_path: Path) -> None:
    """From samples to a webhook: firing, then resolved, each once, signed and with an id."""
    async with made(tmp_path) as outbox, hooks.served(hooks.YES) as hook:
        await outbox.add("ops", hook.url, signing="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
        outbox.now_us += 10 * MINUTE_US
        await outbox.box.serve(8, ok=10, failed=10)
        while await outbox.deliver():
            pass
        await outbox.box.serve(8, ok=20)
        while await outbox.deliver():
            pass
        assert [request.body["status"] for request in hook.requests] == ["firing", "resolved"]
        first = hook.requests[0]
        assert first.body["alerts"][0]["labels"]["service"] == "support"
        assert first.body["alerts"][0]["annotations"]["runbook"] == "high-error-rate"
        assert first.headers["webhook-signature"].startswith("v1,")
        assert len(set(hook.ids)) == 2
        assert await outbox.states() == [State.SENT, State.SENT]


async def test_a_receiver_that_is_dead_for_a_day_is_told_everything_in_order(
    tmp_path: Path,
) -> None:
    """Tries grow rarer, nothing is lost, and the end does not overtake the beginning."""
    async with made(tmp_path) as outbox, hooks.served(REFUSED) as hook:
        await outbox.add("ops", hook.url)
        first, second = await outbox.queue("ops"), await outbox.queue("ops")
        tries = 0
        for _ in range(24 * 12):
            tries += await outbox.deliver()
            outbox.now_us += 5 * MINUTE_US
        assert 100 < tries < 200
        assert await outbox.states() == [State.QUEUED, State.QUEUED]
        assert (await outbox.all())[0].error == "it answered 503"
        hook.does = [hooks.YES]
        hook.requests.clear()
        for _ in range(30):
            await outbox.deliver()
            outbox.now_us += MINUTE_US
        assert await outbox.states() == [State.SENT, State.SENT]
        assert [int(id.split("-")[2]) for id in hook.ids] == [first, second]


async def test_a_receiver_that_is_dead_for_a_day_gets_each_piece_of_news_once(
    tmp_path: Path,
) -> None:
    """What it was not told yet is not repeated: the beginning, then the end, and no more."""
    async with made(tmp_path) as outbox, hooks.served(REFUSED) as hook:
        await outbox.add("ops", hook.url)
        await outbox.box.serve(8, ok=10, failed=10)
        for _ in range(24):
            outbox.box.monotonic_us += 60 * MINUTE_US  # the repeat interval
            await outbox.box.serve(1, ok=10, failed=10)
            await outbox.deliver()
            outbox.now_us += 60 * MINUTE_US
        await outbox.box.serve(8, ok=20)
        outbox.box.monotonic_us += 60 * MINUTE_US
        await outbox.box.serve(1, ok=20)
        assert [each.status for each in await outbox.all()] == ["firing", "resolved"]
        hook.does = [hooks.YES]
        hook.requests.clear()
        for _ in range(2):
            outbox.now_us += 60 * MINUTE_US
            await outbox.deliver()
        assert [request.body["status"] for request in hook.requests] == ["firing", "resolved"]


async def test_the_outbox_of_a_receiver_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest is given up for the newest, and says why; other receivers keep theirs."""
    monkeypatch.setattr(notifications, "MOST_WAITING", 3)
    async with made(tmp_path) as outbox:
        await outbox.add("ops", "https://h.example/x")
        await outbox.add("chat", "https://h.example/y")
        await outbox.queue("chat")
        for _ in range(5):
            await outbox.queue("ops")
        found = await outbox.all()
        assert [each.state for each in found] == [
            State.QUEUED, State.FAILED, State.FAILED, State.QUEUED, State.QUEUED, State.QUEUED,
        ]  # fmt: skip
        assert found[1].error == "more than 3 notifications waited"


async def test_a_clock_that_is_set_back_delays_no_message_and_sends_none_twice(
    tmp_path: Path,
) -> None:
    """An hour back: what waited for its next try goes out at once, under its id."""
    async with made(tmp_path) as outbox, hooks.served(REFUSED) as hook:
        await outbox.add("ops", hook.url)
        await outbox.queue("ops")
        await outbox.deliver()
        outbox.now_us -= 60 * MINUTE_US
        hook.does = [hooks.YES]
        assert await outbox.deliver() == 1
        assert await outbox.deliver() == 0
        assert await outbox.states() == [State.SENT]
        assert len(set(hook.ids)) == 1


async def test_a_receiver_that_hangs_holds_up_no_other(tmp_path: Path) -> None:
    """Each has its own turn."""
    async with (
        made(tmp_path) as outbox,
        hooks.served(Does.HANG) as dead,
        hooks.served(hooks.YES) as alive,
    ):
        await outbox.add("dead", dead.url)
        await outbox.add("alive", alive.url)
        await outbox.queue("dead")
        for _ in range(3):
            await outbox.queue("alive")
        (hanging, first) = await outbox.delivery.start()
        await first
        for _ in range(2):
            (task,) = await outbox.delivery.start()
            await task
        await dead.arrived.wait()
        assert [len(dead.requests), len(alive.requests)] == [1, 3]
        assert (await outbox.all())[0].state is State.SENDING
        hanging.cancel()
        await asyncio.gather(hanging, return_exceptions=True)


async def test_a_control_that_is_killed_while_sending_sends_again_under_the_same_id(
    tmp_path: Path,
) -> None:
    """A receiver that has it already can tell."""
    async with made(tmp_path) as outbox, hooks.served(Does.HANG) as hook:
        await outbox.add("ops", hook.url)
        await outbox.queue("ops")
        (task,) = await outbox.delivery.start()
        await hook.arrived.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await outbox.states() == [State.SENDING]
        hook.does = [hooks.YES]
        outbox.restart()
        assert await outbox.deliver() == 0
        await outbox.delivery.recover()
        assert await outbox.deliver() == 1
        assert await outbox.states() == [State.SENT]
        assert len(set(hook.ids)) == 1


async def test_a_store_that_takes_no_writes_meanwhile_sends_nothing_twice(tmp_path: Path) -> None:
    """The receiver accepted it; that is noted when the store is back, and the next one waits."""
    async with made(tmp_path) as outbox, hooks.served(hooks.YES) as hook:
        await outbox.add("ops", hook.url)
        await outbox.queue("ops")
        await outbox.queue("ops")
        database = outbox.box.store.home.database
        away = database.with_suffix(".away")
        hook.before = lambda: database.rename(away)
        (task,) = await outbox.delivery.start()
        while not away.exists():
            await asyncio.wait({task}, timeout=0.1)
        hook.before = None
        with pytest.raises(errors.Unavailable):
            await outbox.delivery.start()
        assert not task.done()
        away.rename(database)
        await task
        assert await outbox.states() == [State.SENT, State.QUEUED]
        assert await outbox.deliver() == 1
        assert len(set(hook.ids)) == len(hook.ids) == 2


async def test_a_full_disk_loses_no_alert_and_no_notification(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Rounds are lost and nothing unrecorded is sent; then everything recovers."""
    async with made(tmp_path) as outbox, hooks.served(hooks.YES) as hook:
        await outbox.add("ops", hook.url)
        outbox.now_us += 10 * MINUTE_US
        await outbox.box.serve(8, ok=10, failed=10)
        with capfd.disabled(), disks.full():  # what is captured is a file, too
            outbox.box.pass_step()
            with pytest.raises(errors.Unavailable):
                await outbox.box.rounds.once()
            await outbox.deliver()
            assert await outbox.box.states() == [alerts.State.FIRING]
            assert hook.requests == []
        await outbox.deliver()
        await outbox.box.serve(8, ok=20)
        while await outbox.deliver():
            pass
        assert [request.body["status"] for request in hook.requests] == ["firing", "resolved"]
        assert await outbox.box.moves() == ["pending", "firing", "inactive"]


async def test_after_three_days_of_tries_a_message_is_given_up(tmp_path: Path) -> None:
    """It is listed as failed; one that waited behind it is tried as long as it is younger."""
    last = next(n for n in itertools.count(1) if notifications.tried_us(n) >= notifications.KEPT_US)
    async with made(tmp_path) as outbox, hooks.served(REFUSED) as hook:
        await outbox.add("ops", hook.url)
        await outbox.queue("ops")
        outbox.now_us += 60 * MINUTE_US
        await outbox.queue("ops")

        async def tried(s: Session) -> None:
            first = await s.get_one(NotificationRow, 1)
            first.attempts = last - 2

        await outbox.box.store.write(tried)
        await outbox.deliver()
        assert await outbox.states() == [State.QUEUED, State.QUEUED]
        outbox.now_us += 10 * MINUTE_US
        await outbox.deliver()
        assert sorted(await outbox.states()) == [State.FAILED, State.QUEUED]
        assert {each.id: each.attempts for each in await outbox.all()} == {1: last, 2: last - 6}


async def test_a_clock_that_jumps_gives_up_no_message(tmp_path: Path) -> None:
    """By days or years: a message is given up for the tries that it had."""
    async with made(tmp_path) as outbox, hooks.served(REFUSED) as hook:
        await outbox.add("ops", hook.url)
        await outbox.queue("ops")
        for days in (0, 4, 4_000, -4_000):
            outbox.now_us += days * 24 * 60 * MINUTE_US
            await outbox.deliver()
            assert await outbox.states() == [State.QUEUED]
        (found,) = await outbox.all()
        assert found.attempts == 4


async def test_a_receiver_that_was_removed_is_told_nothing(tmp_path: Path) -> None:
    """What waits for it ends."""
    async with made(tmp_path) as outbox, hooks.served(REFUSED) as hook:
        await outbox.add("ops", hook.url)
        await outbox.queue("ops")
        await outbox.deliver()

        async def remove(s: Session) -> int:
            await receivers.remove(s, "ops", actor="kim", at_us=2, intent_id=None)
            return await notifications.give_up(s, "ops", "removed", at_us=2)

        assert await outbox.box.store.write(remove) == 1
        outbox.now_us += 60 * MINUTE_US
        assert await outbox.deliver() == 0


async def test_apprise_delivers_in_a_process_of_its_own(tmp_path: Path) -> None:
    """Its own JSON service, on loopback; the address is in no argument of a process."""
    async with made(tmp_path) as outbox, hooks.served(hooks.YES) as hook:
        await outbox.add("chat", hook.url.replace("http://", "json://"))
        await outbox.queue("chat")
        await outbox.deliver()
        assert await outbox.states() == [State.SENT]
        assert hook.requests[0].body["title"].startswith("[TEST] chat")


@pytest.mark.parametrize(
    ("url", "error"),
    [("json://127.0.0.1:1/hook-token", "did not accept"), ("nothing://token", "does not know")],
)
async def test_what_apprise_says_never_quotes_the_address(
    tmp_path: Path, url: str, error: str
) -> None:
    """It holds tokens."""
    async with made(tmp_path) as outbox:
        await outbox.add("chat", url)
        await outbox.queue("chat")
        await outbox.deliver()
        (found,) = await outbox.all()
        assert found.error is not None
        assert error in found.error
        assert "token" not in found.error


async def test_an_apprise_that_hangs_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may block for ever; control does not."""
    monkeypatch.setattr(delivery, "APPRISE_S", 0.0)
    async with made(tmp_path) as outbox:
        await outbox.add("chat", "json://127.0.0.1:1/x")
        await outbox.queue("chat")
        await outbox.deliver()
        (found,) = await outbox.all()
        assert (found.state, found.error) == (State.QUEUED, "it did not answer within 0 s")


async def test_apprise_does_not_ask_a_metadata_service(tmp_path: Path) -> None:
    """Whatever library a service of apprise uses."""
    async with made(tmp_path) as outbox:
        await outbox.add("cloud", "json://169.254.169.254/latest")
        await outbox.queue("cloud")
        await outbox.deliver()
        (found,) = await outbox.all()
        assert (found.state, found.error) == (State.QUEUED, blocked_addresses.WHY)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://hooks.example.com/services/T0/B0/secret", "https://hooks.example.com/…"),
        ("https://user:secret@h.example.com:8443/x?token=secret", "https://h.example.com:8443/…"),
        ("slack://secret-a/secret-b/secret-c", "slack://…"),
        ("mailto://user:secret@example.com", "mailto://…"),
        ("HTTPS://[::1]:9/secret", "https://[::1]:9/…"),
    ],
)
def test_what_is_shown_of_an_address_holds_no_token(url: str, shown: str) -> None:
    """It is in records, lists and the ledger."""
    assert receivers.shown(url) == shown


@pytest.mark.parametrize(
    "url",
    ["secret", "sec/ret://x", "https:///secret", "http://[secret/", "http://a:99999/s", "http:a/s"],
)
def test_an_address_that_cannot_be_called_is_refused(url: str) -> None:
    """When it is added, and without quoting it."""
    with pytest.raises(errors.Invalid) as refused:
        receivers.shown(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("does", "error"),
    [
        (hooks.answer(308, location="https://h.example/secret"), "redirects to https://h.example,"),
        (hooks.answer(302, location="/secret?x=secret"), "redirects to another path there,"),
        (b"HTTP/1.1 500 /secret\r\nContent-Length: 0\r\n\r\n", "it answered 500"),
    ],
)
async def test_what_a_receiver_answers_does_not_show_its_address(does: bytes, error: str) -> None:
    """A redirect repeats the path, in which the token is; errors are in lists and in row 1."""
    async with hooks.served(does) as hook:
        with pytest.raises(call.CallError) as refused:
            await call.post(f"{hook.url}secret", b"{}", {})
    assert error in str(refused.value)
    assert "secret" not in str(refused.value)


def test_pauses_between_tries_grow_to_ten_minutes() -> None:
    """And follow what the receiver asks for, as far as that."""
    pauses = [notifications.pause_us(n) // 1_000_000 for n in range(1, 12)]
    assert pauses[:5] == [5, 10, 20, 40, 80]
    assert max(pauses) == 600
    assert notifications.pause_us(1, 60_000_000) == 60_000_000
    assert notifications.pause_us(1, 10**12) == 600_000_000
