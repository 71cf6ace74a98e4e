"""The one table of actions: screens, keys and commands agree with it, and it with the door."""

from __future__ import annotations

import importlib

import pytest
from typer.core import TyperGroup

from app import actions, cli
from storage import services, verbs


def test_every_verb_a_person_can_use_has_an_action() -> None:
    """What the door takes, a person can find."""
    assert set() == set(verbs.VERBS) - set(actions.TABLE)


def test_danger_is_the_verbs_own() -> None:
    """How dangerous an action is stands once, at the door."""
    for name, verb in verbs.VERBS.items():
        if name in actions.TABLE:
            assert verb.danger == actions.TABLE[name].danger


def test_one_letter_means_one_thing() -> None:
    """No key calls two actions."""
    keys = [action.key for action in actions.TABLE.values() if action.key]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    "action", [a for a in actions.TABLE.values() if a.twin], ids=lambda a: a.name
)
def test_every_twin_is_a_command_that_exists(action: actions.Action) -> None:
    """The words that help shows beside a key can be typed."""
    noun, _, rest = action.twin.partition(" ")
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


def test_a_split_shows_what_is_set_and_what_will_be() -> None:
    """A confirm names the target and each arm before and after, new and leaving arms included."""
    standing = services.Service(
        name="support",
        split=services.Split(
            id=1,
            service="support",
            salt="s",
            arms=(services.Arm(release=1, weight_bp=9000), services.Arm(release=2, weight_bp=1000)),
            set_at_us=0,
            set_by="sara",
            intent_id=None,
        ),
        record_text=False,
        version=3,
        created_at_us=0,
        created_by="sara",
    )
    wanted = actions.Wanted(target="support", arguments={"arms": {"r1": 5000, "r3": 5000}}, seen=3)
    said = actions.effect(actions.TABLE["services.split"], wanted, standing=standing)
    assert said == "support  r1 90 % → 50 %  r2 10 % → 0 %  r3 0 % → 50 %"
