"""The control socket with the kernel's own credentials, and with clients of all kinds."""

from __future__ import annotations

import asyncio
import contextlib
import grp
import json
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.node import control_socket
from engine.node import intents as intake
from engine.node.control_requests import ControlRequests
from engine.node.control_socket import PER_USER, ControlSocket
from storage import errors, intents, keys, ledger
from storage import store as stores
from storage.control_socket import client as client
from storage.control_socket import exchange
from storage.home import access, clock, config, lock
from storage.home import paths as homes
from storage.home.paths import Home
from storage.store import Store
from tests import other_users
from tests.other_users import User


class Listening:
    """An open control socket and what it received."""

    def __init__(self, home: Home, store: Store) -> None:
        self.home = home
        self.store = store
        self.stopped: list[str] = []
        self.runner: int | None = None

    async def say(self, *lines: bytes) -> list[dict[str, Any]]:
        """Raw lines over one connection, and what is answered to each."""
        with homes.short(self.home.control_socket) as address:
            reader, writer = await asyncio.open_unix_connection(address)
        answers = []
        for line in lines:
            writer.write(line + b"\n")
            answers.append(json.loads(await reader.readline()))
        writer.close()
        return answers

    async def intents(self) -> list[intents.Intent]:
        """All that were stored, oldest first."""
        async with self.store.read() as session:
            return (await intents.tail(session, limit=1_000))[::-1]


@asynccontextmanager
async def held(home: Home) -> AsyncIterator[None]:
    """The lock of a running node, which lets clients wait for its socket."""
    descriptor = lock.take(home.lock)
    try:
        yield
    finally:
        os.close(descriptor)


@asynccontextmanager
async def listening(root: Path, silence_s: float = 10.0) -> AsyncIterator[Listening]:
    """A control socket on a new home."""
    home = homes.make(Home(root))
    store = await stores.open(home)
    made, settings = Listening(home, store), config.load(home)
    requests = ControlRequests(
        home,
        store,
        settings,
        now_us=clock.now_us,
        state=lambda: {"pid": 7, "processes": [], "control_socket": server.state()},
        stop=made.stopped.append,
        runner=lambda: made.runner,
    )
    server = ControlSocket(home, requests, group=settings.people.group, silence_s=silence_s)
    await server.open()
    try:
        yield made
    finally:
        await server.close()
        await store.close()


async def test_an_intent_is_stored_before_it_is_acknowledged(tmp_path: Path) -> None:
    """With who asked as the kernel knows them, and everything that was said."""
    async with listening(tmp_path / "home") as node:
        accepted = await client.ask(
            node.home,
            "services.split",
            "support",
            {"arms": {"r1": 10_000}},
            "because",
            expected_version=3,
        )
        (intent,) = await node.intents()
    assert intent.id == accepted.intent_id
    assert (intent.actor, intent.role) == (accepted.actor, "admin")
    assert (intent.verb, intent.target, intent.expected_version) == ("services.split", "support", 3)
    assert (intent.arguments, intent.reason) == ({"arms": {"r1": 10_000}}, "because")
    assert intent.state is intents.State.ACCEPTED


async def test_a_crowd_of_clients_is_served_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More at once than it takes: all of them are answered, and no one hears that it is down."""
    monkeypatch.setattr(control_socket, "OWN", 20)
    crowd = 60
    async with listening(tmp_path / "home") as node:
        asked = [client.ask(node.home, "services.undo", "support", {"to": 1}) for _ in range(crowd)]
        accepted = await asyncio.gather(*asked)
        assert len(await node.intents()) == crowd
        assert (await client.state(node.home))["control_socket"]["refused"] > 0
    assert len({each.intent_id for each in accepted}) == crowd


async def test_who_and_state_and_stop(tmp_path: Path) -> None:
    """The owner of the home is admin; stopping is handed on with who asked."""
    async with listening(tmp_path / "home") as node:
        person = await client.who(node.home)
        assert person.role == "admin"
        assert (await client.state(node.home))["pid"] == 7
        await client.stop(node.home, reason="new memory")
        why = f"{person.name} asked for it on the control socket: new memory"
        assert node.stopped == [why]
        (stop,) = await node.intents()
        assert (stop.verb, stop.actor, stop.reason) == ("node.stop", person.name, "new memory")
        assert stop.state is intents.State.APPLIED
        async with node.store.read() as session:
            (entry,) = await ledger.tail(session, noun="node", actor=person.name)
            assert await ledger.reasons(session, [entry]) == {stop.id: "new memory"}
        assert (entry.verb, entry.after) == ("node.stop", "stopped")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"", "bad_request"),
        (b"{", "bad_request"),
        (b"[]", "bad_request"),
        (b'"who"', "bad_request"),
        (b"\xff\xfe", "bad_request"),
        (b'{"do": 7}', "bad_request"),
        (
            b'{"do":"intent","arguments":{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
            "bad_request",
        ),
        (b'{"do":"intent","arguments":{"x":' + b"[" * 40 + b"]" * 40 + b"}}", "bad_request"),
        (b'{"do": "dance"}', "bad_request"),
        (b'{"do": "intent", "arguments": []}', "bad_request"),
        (b'{"do": "intent", "expected_version": "x"}', "bad_request"),
        (b'{"do": "intent", "expected_version": 99999999999999999999}', "bad_request"),
        (b'{"do": "intent", "verb": "services.burn"}', "unknown_verb"),
        (b'{"do": "intent", "verb": "services.split", "arguments": {}}', "bad_arguments"),
        (b'{"do":"intent","verb":"services.undo","arguments":{"x":1}}', "bad_arguments"),
        (b'{"do":"intent","verb":"keys.revoke","target":"' + b"x" * 3000 + b'"}', "bad_arguments"),
        (
            b'{"do":"intent","verb":"services.unfreeze","on_behalf_of":1}',
            "not_allowed",
        ),
    ],
)
async def test_what_is_no_request_is_answered_and_the_next_one_heard(
    tmp_path: Path, line: bytes, code: str
) -> None:
    """A clear error on the same connection, nothing stored, and the socket keeps serving."""
    async with listening(tmp_path / "home") as node:
        refused, heard = await node.say(line, b'{"do": "who"}')
        assert refused["ok"] is False
        assert refused["error"]["code"] == code
        assert refused["error"]["message"]
        assert heard["ok"] is True
        assert await node.intents() == []


async def test_a_line_without_end_is_refused(tmp_path: Path) -> None:
    """More than 1 MiB is not read."""
    async with listening(tmp_path / "home") as node:
        with homes.short(node.home.control_socket) as address:
            reader, writer = await asyncio.open_unix_connection(address)
        with contextlib.suppress(ConnectionError):  # it hangs up when it has had enough
            for _ in range(64):
                writer.write(b"x" * 65_536)
                await writer.drain()
        with contextlib.suppress(ConnectionError):  # the answer, where it still gets through
            answer = await reader.readline()
            assert not answer or json.loads(answer)["error"]["code"] == "bad_request"
        writer.close()
        assert (await client.who(node.home)).role == "admin"


async def test_silent_clients_are_disconnected_and_delay_no_other(tmp_path: Path) -> None:
    """Twenty who say nothing, and one who asks meanwhile."""
    async with listening(tmp_path / "home", silence_s=0.3) as node:
        with homes.short(node.home.control_socket) as address:
            silent = [await asyncio.open_unix_connection(address) for _ in range(20)]
            silent[0][1].write(b'{"do":')  # half a line is silence too
        assert (await client.who(node.home)).role == "admin"
        async with asyncio.timeout(60):
            ends = [await reader.read() for reader, _ in silent]
        assert set(ends) == {b""}
        for _, writer in silent:
            writer.close()


async def test_the_arguments_of_an_intent_are_not_nested_deeply(tmp_path: Path) -> None:
    """What JSON can decode once may fail to be decoded by the process that carries it out."""
    async with listening(tmp_path / "home") as node:
        inputs = b'{"a":' + b"[" * 900 + b"]" * 900 + b"}"
        asked = b'{"do":"intent","verb":"runbooks.start","target":"x","arguments":{"inputs":%s}}'
        (refused,) = await node.say(asked % inputs)
        assert refused["error"]["code"] == "bad_request"
        assert "nested" in refused["error"]["message"]
        assert await node.intents() == []


async def test_a_removed_socket_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when a file or a directory is in its place; who is connected stays connected."""
    monkeypatch.setattr(exchange, "MISSING_S", 20.0)
    home = homes.make(Home(tmp_path / "home"))
    async with listening(home.root) as node, held(home):
        path = node.home.control_socket
        with homes.short(path) as address:
            reader, writer = await asyncio.open_unix_connection(address)
        for replace in (None, path.touch, path.mkdir):
            path.unlink()
            if replace is not None:
                replace()
            assert (await client.who(node.home)).role == "admin"
            assert stat.S_IMODE(path.lstat().st_mode) == 0o600
        writer.write(b'{"do": "who"}\n')
        assert json.loads(await reader.readline())["ok"] is True
        writer.close()
    assert not path.exists()


SILENT = """
import json, socket
goes_over(*words[0])
held, heard = [], 0
for _ in range(words[2]):
    one = socket.socket(socket.AF_UNIX)
    one.settimeout(20)
    one.connect(words[1])
    held.append(one)
for one in held[words[3]:]:
    heard += "busy" == json.loads(one.makefile().readline())["error"]["code"]
held[0].sendall(b'{"do": "wh')
print(heard, flush=True)
one = held[0].recv(1)
"""
ASKS = """
import json, socket
goes_over(*words[0])
one = socket.socket(socket.AF_UNIX)
one.connect(words[1])
one.sendall(b'{"do": "who"}\\n')
print(json.loads(one.makefile().readline())["error"]["code"])
"""


@other_users.only_root
async def test_a_member_who_fills_the_socket_takes_no_place_of_another() -> None:
    """Eighty silent connections: all but eight are refused with a word; others are answered."""
    group = next(each for each in grp.getgrall() if each.gr_gid)
    member, other = (User(uid, (group.gr_gid,)) for uid in (61_501, 61_502))
    with other_users.open_directory() as place:
        home = homes.make(Home(place / "home"))
        home.config.write_text(f'[people]\ngroup = "{group.gr_name}"\n')
        async with listening(home.root) as node:
            access.admit(home, group.gr_gid)
            address = str(home.control_socket)
            silent = await asyncio.to_thread(member.start, SILENT, address, 80, PER_USER)
            try:
                assert silent.stdout is not None
                assert int(await asyncio.to_thread(silent.stdout.readline)) == 80 - PER_USER
                said = await asyncio.to_thread(other.python, ASKS, address)
                assert said.split() == ["not_allowed"]  # answered: they have no role
                assert (await client.who(home)).role == "admin"
                state = await client.state(home)
                assert state["control_socket"] == {
                    "connections": PER_USER + 1,
                    "refused": 80 - PER_USER,
                }
            finally:
                silent.kill()
                silent.communicate()
            assert node.stopped == []


async def test_the_runner_alone_asks_on_behalf_of_others(tmp_path: Path) -> None:
    """Only for a run that is under way, with the role of the person who started it."""
    async with listening(tmp_path / "home") as node:

        async def begin(session: Any) -> int:
            number = await intents.accept(
                session, actor="kim", role="operator", verb="runbooks.start", target="roll-back",
                arguments={}, at_us=1,
            )  # fmt: skip
            await intents.claim(session, verbs={"runbooks.start"}, by="runner", at_us=2)
            return number

        run = await node.store.write(begin)
        with pytest.raises(errors.NotAllowed):
            await client.ask(node.home, "services.undo", "support", {"to": 1}, on_behalf_of=run)
        node.runner = os.getpid()
        asked = [
            await client.ask(
                node.home, "services.undo", "support", {"to": 1},
                on_behalf_of=run, idempotency_key="run 1, step back",
            )
            for _ in range(2)
        ]  # fmt: skip
        accepted, again = asked
        assert again == accepted  # an answer that was lost costs no second undo
        assert (accepted.actor, accepted.role) == ("kim", "operator")
        with pytest.raises(errors.NotAllowed, match="kim is operator"):
            await client.ask(node.home, "keys.revoke", "demo", {}, on_behalf_of=run, confirm="demo")
        with pytest.raises(errors.NotAllowed):
            await client.ask(
                node.home, "services.undo", "x", {"to": 1}, on_behalf_of=accepted.intent_id
            )


async def test_what_is_hard_to_reverse_is_confirmed_by_its_name(tmp_path: Path) -> None:
    """At the socket, for every client: one that forgot to ask the person stores nothing."""
    async with listening(tmp_path / "home") as node:
        for confirm in ("", "demo2"):
            with pytest.raises(errors.Refused, match="confirm it with the target's name, 'demo'"):
                await client.ask(node.home, "keys.revoke", "demo", {}, confirm=confirm)
        assert await node.intents() == []
        await client.ask(node.home, "keys.revoke", "demo", {}, confirm="demo")
        assert [intent.verb for intent in await node.intents()] == ["keys.revoke"]


async def test_the_hash_of_a_key_is_not_stored_with_its_intent(tmp_path: Path) -> None:
    """The node seals it first; a client cannot hand in a sealed one, which it may have read."""
    minted = keys.mint()
    arguments = {"name": "demo", "prefix": minted.prefix, "tenant": "acme"}
    async with listening(tmp_path / "home") as node:
        for _ in range(2):  # asked again under its key, it is the same request
            await client.ask(
                node.home, "keys.add", "demo", {**arguments, "sha256": minted.sha256},
                idempotency_key="once",
            )  # fmt: skip
        (intent,) = await node.intents()
        async with node.store.read() as s:
            assert intent.arguments == {**arguments, "mac": await keys.seal(s, minted.sha256)}
        with pytest.raises(errors.Refused, match="the node makes the mac"):
            await client.ask(node.home, "keys.add", "demo", intent.arguments)
        (node.home.secrets / "pepper").unlink()
        with pytest.raises(errors.Unavailable, match="paddock keys reset"):
            await client.ask(node.home, "keys.add", "demo", {**arguments, "sha256": minted.sha256})


async def test_what_became_of_a_key_can_be_asked(tmp_path: Path) -> None:
    """By its actor: the intent that is stored under it, or that there is none."""
    async with listening(tmp_path / "home") as node:
        accepted = await client.ask(
            node.home, "services.undo", "support", {"to": 1}, idempotency_key="mine"
        )
        lines = [b'{"do": "outcome", "idempotency_key": "%s"}' % key for key in (b"mine", b"x")]
        known, unknown = await node.say(*lines)
    assert (known["intent"], known["actor"]) == (accepted.intent_id, accepted.actor)
    assert (unknown["ok"], unknown["intent"]) == (True, None)


async def test_the_socket_is_for_the_owner_or_for_the_group_that_may_look(tmp_path: Path) -> None:
    """Other users cannot connect: without a group, not even people who are named."""
    gid = os.getegid()
    named = grp.getgrgid(gid).gr_name
    for told, expected in (("", 0o600), (f'group = "{named}"\n', 0o660)):
        home = homes.make(Home(tmp_path / f"home{expected}"))
        home.config.write_text(f'[people]\n{told}operator = ["@oncall"]\n')
        async with listening(home.root) as node:
            found = node.home.control_socket.stat()
            assert (found.st_mode & 0o777, found.st_gid) == (expected, gid)


async def test_a_home_with_a_long_path_has_a_control_socket_too(tmp_path: Path) -> None:
    """Longer than a socket's address may be."""
    async with listening(tmp_path / ("deep" * 30) / "home") as node:
        assert (await client.who(node.home)).role == "admin"


async def test_one_person_cannot_queue_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nothing carries out fills the store; the same request sent again is still answered."""
    monkeypatch.setattr(intake, "UNCLAIMED", 3)
    asked = {"do": "intent", "verb": "services.undo", "target": "support", "arguments": {"to": 1}}
    lines = [json.dumps(asked | {"idempotency_key": key}).encode() for key in "abcdc"]
    async with listening(tmp_path / "home") as node:
        *accepted, fourth, again = await node.say(*lines)
        stored = await node.intents()
        await node.store.write(lambda s: intents.claim_one(s, 1, by="control", at_us=1))
        (later,) = await node.say(lines[3])
    assert [each["ok"] for each in accepted] == [True] * 3
    assert fourth["error"]["code"] == "busy"
    assert "3 requests of" in fourth["error"]["message"]
    assert again["intent"] == accepted[-1]["intent"]
    assert len(stored) == 3
    assert later["ok"]
