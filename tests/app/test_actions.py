"""The one table of actions: screens, keys, commands and the control socket agree with it."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from typer import Context
from typer.core import TyperGroup

from app import actions, cli, errors, session
from storage import intents, processes
from storage import store as stores
from storage.control_socket import client, verbs
from storage.home.paths import Home

ROOT: Final = Path(__file__).parents[2]
QUOTED: Final = re.compile(r"`paddock ([a-z][^`{'\n]*)")


def test_every_verb_a_person_can_use_has_an_action() -> None:
    """What the control socket accepts, a person can find."""
    assert set() == set(verbs.TABLE) - set(actions.TABLE)


def test_danger_is_the_verbs_own() -> None:
    """How dangerous an action is is defined once, at the control socket."""
    for name, verb in verbs.TABLE.items():
        if name in actions.TABLE:
            assert verb.danger == actions.TABLE[name].danger


def test_one_letter_means_one_thing() -> None:
    """No key calls two actions of a noun; of several nouns it begins, leads on, ends, goes back."""
    keyed = [action for action in actions.TABLE.values() if action.key]
    assert len({(action.key, action.noun) for action in keyed}) == len(keyed)
    shared = {action.key for action in keyed if sum(action.key == each.key for each in keyed) > 1}
    verbs_of = {key: {each.verb for each in keyed if each.key == key} for key in shared}
    assert verbs_of == {
        "n": {"start", "open"},
        "u": {"undo", "reopen", "unack"},
        "x": {"cancel", "abort", "stop", "close"},
        "f": {"promote", "stable"},
        "N": {"note"},
        "R": {"retry"},
    }


def test_an_action_that_travels_as_another_verb_is_as_dangerous() -> None:
    """What it sends is a verb that the control socket knows."""
    renamed = [action for action in actions.TABLE.values() if action.intent]
    assert [action.name for action in renamed] == ["rollouts.promote_fully", "rollouts.undo_to"]
    for action in renamed:
        assert verbs.TABLE[action.intent].danger is action.danger


@pytest.mark.parametrize(
    "action", [a for a in actions.TABLE.values() if a.command], ids=lambda a: a.name
)
def test_every_command_of_an_action_exists(action: actions.Action) -> None:
    """The words that help shows beside a key can be typed."""
    noun, _, rest = action.command.partition(" ")
    if noun.startswith("--"):
        return
    assert noun in cli.COMMANDS
    module, help = cli.COMMANDS[noun]
    command = cli.load(module, noun, help)
    if isinstance(command, TyperGroup):
        assert rest.partition(" ")[0] in command.commands


def test_every_command_has_a_module() -> None:
    """A command that help lists can be loaded."""
    for name, (module, help) in cli.COMMANDS.items():
        importlib.import_module(f"app.commands.{module}")
        assert name == cli.load(module, name, help).name


def test_the_help_of_a_noun_cuts_no_line() -> None:
    """Each command is listed with its whole first sentence, in 80 columns."""
    loaded = [cli.load(module, name, help) for name, (module, help) in cli.COMMANDS.items()]
    nouns = [each for each in loaded if isinstance(each, TyperGroup)]
    below = [each for noun in nouns for each in noun.commands.values()]
    cut = []
    for group in (*nouns, *(each for each in below if isinstance(each, TyperGroup))):
        said = group.get_help(Context(group, info_name=group.name, terminal_width=80))
        _, _, listed = said.partition("Commands:")
        assert listed, said
        cut += [f"{group.name} {line}" for line in listed.splitlines() if line.endswith("...")]
    assert cut == []


def test_every_command_that_a_message_or_a_guide_quotes_exists() -> None:
    """With its options: what people are told to type at 3 a.m. has to work."""
    loaded = {name: cli.load(module, name, help) for name, (module, help) in cli.COMMANDS.items()}
    folders = ("app", "engine", "runbooks", "storage", "docs")
    files = [each for folder in folders for each in (ROOT / folder).rglob("*.*")]
    texts = [
        each for each in (*files, ROOT / "README.md") if each.suffix in {".py", ".md", ".yaml"}
    ]
    quoted = {found for file in texts for found in QUOTED.findall(file.read_text())}
    assert len(quoted) > 100
    assert [each for each in sorted(quoted) if not typed(each.split(), loaded)] == []


def typed(words: list[str], commands: Mapping[str, Any]) -> bool:
    """Whether these words name a command with options that it has."""
    command = commands.get(words[0])
    for word in words[1:]:
        if isinstance(command, TyperGroup) and word[0].isalpha():
            command = command.commands.get(word)
        elif command is not None and word.startswith("--"):
            known = {name for option in command.params for name in option.opts}
            known |= {name for option in command.params for name in option.secondary_opts}
            if word.partition("=")[0].rstrip(".,]") not in known | {"--help"}:
                return False
    return command is not None


@pytest.fixture
async def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[stores.Store]:
    """A store behind a control socket that keeps intents; nothing claims them."""
    opened = await stores.open(Home(tmp_path / "home"))

    async def ask(
        _: Home, verb: str, target: str, arguments: Any, *, confirm: str = "", **rest: Any
    ) -> client.Accepted:
        assert confirm == ""
        id = await opened.write(
            lambda s: intents.accept(
                s, actor="sara", role="admin", verb=verb, target=target, arguments=arguments,
                at_us=1, **rest,
            )
        )  # fmt: skip
        return client.Accepted(id, "sara", "admin")

    monkeypatch.setattr(client, "ask", ask)
    yield opened
    await opened.close()


async def undo(store: stores.Store) -> actions.Done:
    """Ask for a rollback and wait for nothing."""
    wanted = actions.Wanted(target="support")
    undo = actions.TABLE["services.undo"]
    return await actions.perform(store.home, store, undo, wanted, timeout_s=0)


async def test_an_unclaimed_intent_is_not_done(store: stores.Store) -> None:
    """It names the process that should claim it, and its state."""
    done = await undo(store)
    assert (done.ok, done.waits, done.state) == (False, True, "accepted")
    assert done.sentence.startswith(
        "Stored as intent 1, not carried out yet: control is not running. "
    )

    async def crash(s: Any) -> None:
        await processes.declare(s, name="control", kind=processes.Kind.CONTROL, at_us=1)
        crashed = processes.State.CRASHED
        await processes.move(s, "control", crashed, at_us=2, reason="it ended by signal 9")

    await store.write(crash)
    done = await undo(store)
    assert "control is crashed (it ended by signal 9). `paddock" in done.sentence


async def test_an_intent_in_progress_is_not_done(
    store: stores.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was claimed, and its outcome is not known yet."""
    ask = client.ask

    async def taken(*words: Any, **rest: Any) -> client.Accepted:
        accepted = await ask(*words, **rest)
        await store.write(
            lambda s: intents.claim(s, verbs=["services.undo"], by="control", at_us=2)
        )
        return accepted

    monkeypatch.setattr(client, "ask", taken)
    done = await undo(store)
    assert (done.ok, done.waits, done.state) == (False, True, "claimed")
    assert done.sentence.startswith("Intent 1 is in progress; control, which claimed it, ")


@pytest.mark.parametrize("as_json", [True, False])
def test_a_command_whose_intent_waits_exits_with_four(
    capsys: pytest.CaptureFixture[str], *, as_json: bool
) -> None:
    """Neither success nor refusal; scripts read the state."""
    done = actions.Done(ok=False, sentence="Not done yet.", intent_id=7, state="accepted")
    with pytest.raises(errors.Waits, match="Not done yet") as waits:
        session.report(done, as_json=as_json)
    assert waits.value.exit_code == 4
    document = {"intent": 7, "state": "accepted", "outcome": "Not done yet."}
    out = capsys.readouterr().out
    assert (json.loads(out) == document) if as_json else (out == "")
