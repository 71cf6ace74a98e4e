"""A new verb is its row, its handler and its command, and nothing else."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Final

import pytest

from engine.control import handlers
from storage.control_socket import verbs
from storage.control_socket.verbs import Process

ROOT: Final = Path(__file__).resolve().parents[3]
ASKING: Final = {
    "app/demo/run.py", "app/demo/setup.py", "engine/control/ab_tests/act.py",
    "runbooks/automation.py",
}  # fmt: skip
"""Modules that store intents with the verbs of other nouns, besides the drills."""


@functools.cache
def texts() -> dict[str, str]:
    """The modules that may name a verb, by path."""
    return {
        str(path.relative_to(ROOT)): path.read_text()
        for room in ("app", "engine", "runbooks", "storage/control_socket")
        for path in (ROOT / room).rglob("*.py")
    }


def places(verb: str) -> set[str]:
    """The modules that have to name a verb.

    Not the nouns of the store, which write it into the ledger, nor the places of the screen that
    offer it, nor what asks for it: a verb is complete without them.
    """
    found = {path for path, text in texts().items() if f'"{verb}"' in text}
    asking = {name for name in found if name.startswith(("app/screens/", "runbooks/drills/"))}
    return found - asking - ASKING - {"app/actions.py"}


@pytest.mark.parametrize("verb", sorted(verbs.TABLE))
def test_a_verb_is_named_in_at_most_three_places(verb: str) -> None:
    """The table, its handler, its command; which process carries it out is in the table."""
    found = places(verb)
    assert f"storage/control_socket/verbs/{verb.partition('.')[0]}.py" in found
    assert [name for name in found if name.startswith("app/commands/")] != []
    assert len(found) <= 3, found


def test_every_verb_of_control_has_one_handler() -> None:
    """Proved at the start of control, from the declarations beside the functions."""
    assert handlers.load().keys() == verbs.carried_out_by(Process.CONTROL)


def test_a_verb_without_a_handler_keeps_control_from_starting() -> None:
    """And so does a handler without a verb, and a second handler of one verb."""
    with pytest.raises(handlers.Misdeclared, match=r"no handler is declared for a\.b"):
        handlers.check({"a.b"}, set())
    with pytest.raises(handlers.Misdeclared, match=r"control does not carry out c\.d"):
        handlers.check(set(), {"c.d"})
    handlers.load()
    with pytest.raises(handlers.Misdeclared, match=r"keys\.revoke has two handlers"):
        handlers.handles("keys.revoke")
