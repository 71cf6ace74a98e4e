"""What a viewer cannot do, tried by every way in: control socket, command line, screen, HTTP.

On the box a viewer is another user of this machine. Verbs, commands, actions and routes are taken
from their tables, so that a new one is tried without being named here.
"""

from __future__ import annotations

import asyncio
import contextlib
import grp
import json
import os
import re
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from typer.core import TyperGroup

from app import actions, cli
from app.screens import keymap, places
from app.screens.place import Offer
from engine.control import reconcile
from engine.control.intents import Intents
from engine.node.control_requests import ControlRequests
from engine.node.control_socket import ControlSocket
from engine.reads import members
from engine.reads.server import Bounds, Server
from storage import alerts, intents, jobs, ledger, runs
from storage import store as stores
from storage.alert_states import State
from storage.control_socket import verbs
from storage.home import access, config
from storage.home import paths as homes
from storage.home.paths import Home
from storage.keys import Role
from storage.store import Session, Store
from tests import other_users
from tests.app import pilot, populated_homes
from tests.app.pilot import FakeNode
from tests.other_users import User

BOUND_S: Final = 600.0
GROUP: Final = next(each for each in grp.getgrall() if each.gr_gid)
VIEWER: Final = User(61_601, (GROUP.gr_gid,))
REFUSED: Final = re.compile(
    r"is viewer; to .* one must be (operator|admin)|[Oo]nly the (owner|user who runs the node)"
    r"|belongs to another user \(uid 0\)|undo by hand"  # no run of this box could be undone
)

ASKS: Final = """
import socket
goes_over(*words[0])
for line in words[2]:
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(words[1])
        one.sendall(json.dumps(line).encode() + b"\\n")
        print(one.makefile().readline(), end="")
"""


@dataclass
class Box:
    """A box with something of everything, which a viewer may read, and an open control socket."""

    home: Home
    store: Store
    stops: list[str]

    async def changes(self) -> tuple[int, int]:
        """How much there is in the ledger and among the intents."""
        async with self.store.read() as s:
            return len(await ledger.tail(s, 10_000)), len(await intents.tail(s, limit=10_000))


DONE: Final[tuple[tuple[str, str, dict[str, Any]], ...]] = (
    ("models.alias", "ops", {"alias": "champion", "version": "1.0.0"}),
    ("prompts.add", "", {"prompt": "terse", "messages": [{"role": "system", "template": "Hm."}]}),
    ("prompts.label", "terse", {"label": "beta", "number": 1}),
    ("prompts.label", "terse", {"label": "beta", "number": 2}),
    ("services.create", "search", {"release": "r1"}),
    ("services.create", "docs", {"release": "r1"}),
    ("rollouts.start", "search", {"release": "r2"}),
    ("ab_tests.start", "docs", {
        "arms": {"r1": 5_000, "r2": 5_000},
        "goals": [{"metric": "thumbs_up", "better": "up", "least": 100}],
    }),
    ("knobs.set", "ops-1.0.0", {"name": "max_running", "value": 4}),
    ("budgets.set", "key/shop", {"limit_micro": 1_000_000}),
    ("upstreams.add", "far", {"url": "http://127.0.0.1:9/v1"}),
    ("incidents.open", "", {"title": "It fails", "service": "support"}),
    ("incidents.add_item", "INC-1", {"title": "A test", "owner": "kim"}),
    ("alerts.silence", "s", {"matchers": ["service=search"], "for_s": 3600}),
    ("alerts.add_receiver", "ops", {
        "kind": "webhook", "shown": "https://h/…", "secret": "0" * 32,
    }),
)  # fmt: skip


async def scene(store: Store) -> None:
    """Something of everything, as people ask for it; and an alert."""
    now = populated_homes.NOW_US

    async def work(s: Session) -> None:
        await alerts.begin(
            s, rule="errors", rule_version=1, severity=alerts.Severity.WARNING, summary="fails",
            labels={"alertname": "errors", "service": "support"}, runbook="roll-back",
            state=State.FIRING, value=0.5, clock_us=0, at_us=now,
        )  # fmt: skip
        await jobs.add(s, kind="add_model", target="ops", arguments={}, actor="kim", at_us=now)
        for ended in (False, True):
            asked = await intents.accept(
                s, actor="kim", role="admin", verb="runbooks.start", target="roll-back",
                arguments={}, at_us=now,
            )  # fmt: skip
            await intents.claim(s, verbs={"runbooks.start"}, by="runner", at_us=now)
            run = await runs.begin(
                s, runbook="roll-back", intent_id=asked, actor="kim", inputs={},
                content="0" * 64, at_us=now,
            )  # fmt: skip
            if ended:
                await runs.end(s, run.id, runs.State.FAILED, reason="no", at_us=now)
        for verb, target, arguments in DONE:
            await intents.accept(
                s, actor="kim", role="admin", verb=verb, target=target, arguments=arguments,
                reason="so", at_us=now,
            )  # fmt: skip

    await store.write(work)
    await reconcile.Loop(store, [Intents()], now_us=lambda: now).settle()
    async with store.read() as s:
        failed = [
            (each.verb, each.outcome)
            for each in await intents.tail(s, limit=100)
            if each.state is not intents.State.APPLIED and each.verb != "runbooks.start"
        ]
    assert not failed, str(failed)


@pytest.fixture(scope="module")
def root() -> Iterator[Home]:
    """A home where others can reach it."""
    with other_users.open_directory() as place:
        yield homes.make(Home(place / "home"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def box(root: Home) -> AsyncIterator[Box]:
    """The box."""
    root.config.write_text(f'[people]\ngroup = "{GROUP.gr_name}"\nviewer = ["uid{VIEWER.uid}"]\n')
    store = await stores.open(root)
    await populated_homes.busy(store)
    await scene(store)
    access.admit(root, GROUP.gr_gid)
    box = Box(root, store, [])
    requests = ControlRequests(
        root, store, config.load(root), now_us=lambda: populated_homes.NOW_US,
        state=lambda: {"pid": 7, "processes": []}, stop=box.stops.append, runner=lambda: None,
    )  # fmt: skip
    socket = ControlSocket(root, requests, group=GROUP.gr_name)
    reads = Server(root, GROUP.gr_gid, bounds=Bounds(), processes=members.PROCESSES)
    async with contextlib.AsyncExitStack() as ends:
        ends.push_async_callback(store.close)
        await socket.open()
        ends.push_async_callback(socket.close)
        await reads.start()
        ends.push_async_callback(reads.close)
        yield box


@other_users.only_root
@pytest.mark.asyncio(loop_scope="module")
async def test_every_verb_of_the_control_socket_is_refused(box: Box) -> None:
    """Whatever its arguments are: who asks comes first. Nothing but reading is a viewer's."""
    before = await box.changes()
    acts = [verb for verb in verbs.TABLE.values() if not Role.VIEWER.may(verb.role)]
    assert {name for name, verb in verbs.TABLE.items() if verb not in acts} == {"rollouts.plan"}
    lines: list[dict[str, Any]] = [
        {"do": "intent", "verb": verb.name, "target": "support", "confirm": "support",
         "reason": "x", "arguments": {}}
        for verb in acts
    ]  # fmt: skip
    lines += [
        {"do": "stop"},
        {"do": "backup", "target": "copy"},
        {"do": "intent", "verb": "services.undo", "target": "support", "on_behalf_of": 1},
    ]
    address = str(box.home.control_socket)
    said = await asyncio.to_thread(VIEWER.python, ASKS, address, lines)
    answers = [json.loads(line)["error"] for line in said.splitlines()]
    assert {answer["code"] for answer in answers} == {"not_allowed"}
    needed = [*(verb.role.value for verb in acts), "operator", "operator"]
    wrong = [
        (line, answer["message"])
        for line, answer, role in zip(lines, answers, needed, strict=False)
        if f"uid{VIEWER.uid} is viewer" not in answer["message"]
        or f"one must be {role}" not in answer["message"]
    ]
    assert wrong == []
    assert answers[-1]["message"] == "Only the runner may ask on behalf of others."
    assert (await box.changes(), box.stops) == (before, [])


def leaves(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """All commands under one: the words that call it, and its options."""
    if isinstance(command, TyperGroup):
        for name, each in command.commands.items():
            yield from leaves(each, (*path, name))
    else:
        yield path, [option for each in command.params for option in each.opts]


def commands() -> dict[tuple[str, ...], list[str]]:
    """All commands of `paddock`."""
    return {
        path: options
        for name, (module, help) in cli.COMMANDS.items()
        for path, options in leaves(cli.load(module, name, help), (name,))
    }


def is_of(path: tuple[str, ...], command: str) -> bool:
    """Whether a command's form begins with these words."""
    return tuple(command.split()[: len(path)]) == path


WORDS: Final[Mapping[str, str]] = {
    "REQUEST": "a1", "RELEASE": "r2", "ALERT": "1", "SILENCE": "1", "N": "0", "NUMBER": "1",
    "ENTRY": "1", "ITEM": "1", "JOB": "1", "RUN": "1", "RULE": "latency-p95", "LABEL": "beta",
    "ALIAS": "champion", "REPLICAS": "2", "WORKER": "ops-1.0.0", "KNOB": "max_running",
    "KNOB=VALUE": "max_running=8", "URL": "http://127.0.0.1:9/v1", "PERSON": "kim",
}  # fmt: skip
"""What stands for the words of a command's form; others are taken as they are."""

NAMES: Final[Mapping[str, str]] = {
    "models": "ops", "prompts": "terse", "releases": "ops", "deployments": "ops-1.0.0",
    "services": "support", "keys": "shop", "budgets": "shop", "scoring": "support",
    "quarantine": "terse", "upstreams": "far", "runbooks": "roll-back", "drill": "worker-killed",
    "alerts": "ops", "rollouts": "search", "ab-tests": "docs",
}  # fmt: skip
"""What NAME and SERVICE are, by noun."""


FILES: Final[Mapping[str, str]] = {
    "prompts.add": 'prompt = "terse"\n[[messages]]\nrole = "system"\ntemplate = "Be brief."\n',
    "manifests.apply": '[[services.fresh.arms]]\nweight = 100\nmodel = "ops@1.0.0"\n',
    "upstreams.rekey": "sk-1",
    "alerts.add_receiver": "https://h.example/x",
    "alerts.set_rules": "groups: [{name: a, rules: [{alert: a, expr: paddock_cost_today > 1}]}]",
    "store.restore": "",
}
"""What FILE holds, by action."""


def line(command: str, accepts: Sequence[str]) -> list[str]:
    """A command's form with the words of this box, without what may be left out."""
    noun, *rest = re.sub(r" ?\[[^]]*\]", "", command).split()
    known = {**WORDS, "NAME": NAMES.get(noun, "support"), "SERVICE": NAMES.get(noun, "support")}
    words = [re.sub(r"[A-Z=]+", lambda found: known.get(found[0], found[0]), word) for word in rest]
    return [noun, *words, *(["--yes"] if "--yes" in accepts else [])]


def files(box: Box) -> Path:
    """Where those files are, a prompt as a directory, and a copy of the store, for all to read."""
    place = box.home.root.parent
    before = os.umask(0o022)  # commands that run in this process narrow it
    try:
        _write(box, place)
    finally:
        os.umask(before)
    return place


def _write(box: Box, place: Path) -> None:
    version = place / "prompts" / "terse" / "3"
    version.mkdir(parents=True)
    (version / "prompt.toml").write_text('comment = "shorter"')
    (version / "01-system.jinja").write_text("Be brief.")
    for name, text in FILES.items():
        (place / name).write_text(text)
    with (
        contextlib.closing(sqlite3.connect(box.home.database)) as store,
        contextlib.closing(sqlite3.connect(place / "store.restore")) as copy,
    ):
        store.backup(copy)


@other_users.only_root
@pytest.mark.asyncio(loop_scope="module")
async def test_every_command_that_acts_is_refused(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a sentence that says who may; what only looks works."""
    monkeypatch.setenv("PADDOCK_HOME", str(box.home.root))
    place, before, known = files(box), await box.changes(), commands()
    acting: dict[str, list[str]] = {"prices.unset": ["prices", "unset", "gpu-hour"]}
    for action in actions.TABLE.values():
        if action.name.startswith("look.") or action.name == "rollouts.plan" or not action.command:
            continue
        path = max((each for each in known if is_of(each, action.command)), key=len)
        of: dict[str, object] = {"FILE": place / action.name, "DIR": place / "prompts"}
        of |= {"1": "2"} if action.name == "runbooks.undo" else {}
        words = line(action.command, known[path])
        acting[action.name] = [str(of.get(word, word)) for word in words]
    lines = [*acting.values(), ["alerts", "list"], ["ledger", "verify"]]
    (said,) = await asyncio.to_thread(other_users.paddock, {VIEWER: lines}, bound_s=BOUND_S)
    *refused, listed, verified = [
        (" ".join(words), each.code, each.err) for words, each in zip(lines, said, strict=True)
    ]
    assert [each for each in refused if not (each[1] and REFUSED.search(each[2]))] == []
    assert [listed[1], verified[1]] == [0, 0]
    assert (await box.changes(), box.stops) == (before, [])


async def test_every_action_of_the_screen_is_refused(busy_home: Home, node: FakeNode) -> None:
    """In each place, and by each letter; the node is not even asked."""
    node.role = "viewer"
    tried = set()
    async with pilot.at(pilot.program(busy_home)) as screen:
        await screen.press(":", *"rw", "enter")
        assert "you are viewer here" in screen.said
        for of in places.EVERY:
            screen.app.go(of.where, *([] if keymap.PLACES[of.where].key else ["1"]))
            await screen.until(lambda of=of: screen.place.where == of.where)  # type: ignore[misc]
            for name in of.acts:
                if name.startswith("look."):
                    continue
                screen.app.dispatcher.do(name, screen.place)
                why = screen.app.dispatcher.refusal(name, Offer(effect="x"))
                assert "you are viewer here; an admin can make you operator" in why
                assert not screen.app.prompt_line.busy, (of.where, name)
                tried.add(name)
    keyed = {action.name for action in actions.TABLE.values() if action.key}
    assert {name for name in keyed if not name.startswith("look.")} <= tried
    assert node.asked == []
