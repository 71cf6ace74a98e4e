"""The client of the control socket, against a node that answers as the test wants."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from storage import errors, intents
from storage.control_socket import client, exchange, nudges
from storage.home import lock
from storage.home import paths as homes
from storage.home.paths import Home
from storage.intents import State
from storage.store import Store


@contextlib.asynccontextmanager
async def node(home: Home, answer: object) -> AsyncIterator[list[dict[str, Any]]]:
    """A peer behind the control socket that gives each line the same answer; what it was asked."""
    asked: list[dict[str, Any]] = []
    answers = answer if isinstance(answer, Iterator) else itertools.repeat(answer)

    async def visit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(json.loads(await reader.readline()))
        said = next(answers)
        writer.write(said if isinstance(said, bytes) else json.dumps(said).encode() + b"\n")
        writer.close()

    with homes.short(home.control_socket) as address:
        server = await asyncio.start_unix_server(visit, address, limit=2 * client.LINE_LIMIT)
    async with server:
        yield asked


async def test_an_intent_is_handed_in(home: Home) -> None:
    """With everything the node needs to decide; the answer says who one is there."""
    answer = {"ok": True, "intent": 17, "actor": "sara", "role": "operator"}
    async with node(home, answer) as asked:
        accepted = await client.ask(
            home,
            "services.split",
            "support",
            {"arms": {"r1": 10_000}},
            reason="calm",
            expected_version=3,
            idempotency_key="k1",
            confirm="support",
        )
        await client.ask(home, "services.undo", "support", {}, on_behalf_of=4, idempotency_key="k2")
    assert accepted == client.Accepted(17, "sara", "operator")
    assert asked == [
        {
            "do": "intent", "verb": "services.split", "target": "support",
            "arguments": {"arms": {"r1": 10_000}}, "reason": "calm", "expected_version": 3,
            "idempotency_key": "k1", "confirm": "support",
        },
        {
            "do": "intent", "verb": "services.undo", "target": "support",
            "arguments": {}, "reason": "", "expected_version": None, "on_behalf_of": 4,
            "idempotency_key": "k2",
        },
    ]  # fmt: skip


async def test_a_lost_acknowledgement_is_asked_for_by_its_key(home: Home) -> None:
    """The node stored the intent and its answer was lost: it is not down, nor asked twice."""
    answers = iter([b"", b'{"ok": true, "intent": 14, "actor": "sara", "role": "admin"}\n'])
    async with node(home, answers) as asked:
        accepted = await client.ask(home, "services.undo", "a", {}, idempotency_key="k")
    assert accepted == client.Accepted(14, "sara", "admin")
    assert [(each["do"], each["idempotency_key"]) for each in asked] == [
        ("intent", "k"),
        ("outcome", "k"),
    ]


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([b"", b'{"ok": true, "intent": null}\n'], "has not stored the request"),
        ([b"", b""], "not known whether it stored the request"),
    ],
)
async def test_what_became_of_an_unanswered_request_is_said(
    home: Home, answers: list[bytes], said: str
) -> None:
    """As far as it is known; a node that answers nothing is not simply down."""
    async with node(home, iter(answers)):
        with pytest.raises(errors.Unanswered, match=said):
            await client.ask(home, "services.undo", "a", {})


async def test_who_state_and_stop(home: Home) -> None:
    """The three other things one can say at the control socket."""
    async with node(home, {"ok": True, "person": "sara", "role": "admin", "pid": 5}) as asked:
        assert await client.who(home) == client.Person("sara", "admin")
        assert (await client.state(home))["pid"] == 5
        await client.stop(home)
    assert [each["do"] for each in asked] == ["who", "state", "stop"]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("not_allowed", errors.NotAllowed),
        ("bad_arguments", errors.Refused),
        ("unknown_verb", errors.Refused),
        ("store_unavailable", errors.Unavailable),
        ("busy", errors.Busy),
        ("something_new", errors.Refused),
    ],
)
async def test_a_refusal_comes_with_the_nodes_words(
    home: Home, code: str, expected: type[errors.StorageError], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each code is an error of its own kind; so is a control socket that stays busy."""
    monkeypatch.setattr(exchange, "CROWD_S", 0.0)
    async with node(home, {"ok": False, "error": {"code": code, "message": "not now"}}):
        with pytest.raises(expected, match="not now"):
            await client.ask(home, "services.undo", "support", {})


async def test_a_busy_node_that_hangs_up_before_the_request_is_sent_is_heard(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says that it is busy: the request is sent again, and it is clear what became of it."""
    hung_up = threading.Semaphore(0)
    busy = b'{"ok": false, "error": {"code": "busy", "message": "not now"}}\n'
    short = homes.short

    @contextlib.contextmanager
    def connected(path: Path) -> Iterator[str]:
        with short(path) as address:
            yield address
        assert hung_up.acquire(timeout=60)

    def serve() -> None:
        for permits in (1, 2):
            visitor, _ = listening.accept()
            visitor.sendall(busy)
            visitor.close()
            hung_up.release(permits)
        visitor, _ = listening.accept()
        with visitor, visitor.makefile("rb") as lines:
            lines.readline()
            visitor.sendall(b'{"ok": true, "intent": 3, "actor": "sara", "role": "admin"}\n')

    with socket.socket(socket.AF_UNIX) as listening:
        with short(home.control_socket) as address:
            listening.bind(address)
        listening.listen()
        listening.settimeout(60)
        monkeypatch.setattr(homes, "short", connected)
        serving = threading.Thread(target=serve)
        serving.start()
        accepted = await client.ask(home, "services.undo", "support", {})
        serving.join(60)
    assert accepted.intent_id == 3


@pytest.mark.parametrize("answer", [b"", b"\xff\n", b"[1]\n", b"half a li"])
async def test_a_node_that_makes_no_sense_is_down(home: Home, answer: bytes) -> None:
    """It was killed in the middle of a word, or something else sits there."""
    async with node(home, answer):
        with pytest.raises(errors.NodeIsDown, match="paddock serve"):
            await client.who(home)


async def test_without_a_node_the_error_says_how_to_start_it(home: Home) -> None:
    """No socket, or the socket of a node that was killed."""
    with pytest.raises(errors.NodeIsDown, match="paddock serve"):
        await client.who(home)
    home.control_socket.touch()
    with pytest.raises(errors.NodeIsDown, match="paddock serve"):
        await client.who(home)


async def test_a_node_whose_socket_was_removed_is_not_called_down(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that holds the lock runs: it is named, and the request is not called lost."""
    monkeypatch.setattr(exchange, "MISSING_S", 0.0)
    descriptor = lock.take(home.lock)
    try:
        with pytest.raises(errors.Busy, match=rf"process {os.getpid()}\) runs"):
            await client.ask(home, "services.undo", "a", {})
        async with node(home, b""):
            with pytest.raises(errors.NodeIsDown, match=f"kill -9 {os.getpid()}"):
                await client.who(home)
            with pytest.raises(errors.Unanswered, match="not known whether it will stop"):
                await client.stop(home)
    finally:
        os.close(descriptor)
    assert lock.holder(home.lock) is None


async def test_a_socket_that_comes_back_is_waited_for(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A running node binds it again within a second; a command does not fail for that."""
    monkeypatch.setattr(exchange, "MISSING_S", 20.0)
    descriptor = lock.take(home.lock)
    try:
        asking = asyncio.create_task(client.who(home))
        await asyncio.sleep(0)
        async with node(home, {"ok": True, "person": "sara", "role": "admin"}):
            assert (await asking).name == "sara"
    finally:
        os.close(descriptor)


async def test_a_listener_whose_file_was_removed_listens_again(home: Home) -> None:
    """Also when the whole directory is gone; a nudge may be lost, so it looks once."""
    with nudges.listen(home, "t") as listener:
        assert not await listener.wait(0.01)
        shutil.rmtree(home.run)
        assert await listener.wait(60)
        nudges.send(home)
        assert await listener.wait(60)


async def test_what_is_too_large_or_cannot_be_sent_is_refused_here(home: Home) -> None:
    """Before the node is bothered."""
    with pytest.raises(errors.Refused, match="1 MiB"):
        await client.ask(home, "prompts.add", "x", {"comment": "x" * client.LINE_LIMIT})
    for unsendable in ("\ud800", object()):
        with pytest.raises(errors.Refused, match="cannot be sent"):
            await client.ask(home, "prompts.add", "x", {"comment": unsendable})


async def test_waiting_ends_when_the_intent_has_ended(store: Store) -> None:
    """By the nudge that follows the write, or as it is when the time is up."""
    id = await store.write(
        lambda s: intents.accept(
            s, actor="sara", role="admin", verb="services.undo", target="a", arguments={}, at_us=1
        )
    )
    assert (await client.wait(store, id, 0)).state is State.ACCEPTED
    waiting = asyncio.create_task(client.wait(store, id, 60))
    await asyncio.sleep(0)
    await store.write(lambda s: intents.claim(s, verbs=["services.undo"], by="control", at_us=2))
    await store.write(lambda s: intents.end(s, id, State.APPLIED, "done", 3))
    ended = await waiting
    assert (ended.state, ended.outcome) == (State.APPLIED, "done")
    assert list(store.home.run.glob("wait-*")) == []
