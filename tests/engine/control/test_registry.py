"""A new verb is its row, its controller and its command, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from engine.control import registry
from storage.control_socket import verbs
from storage.control_socket.verbs import Process

ROOT: Final = Path(__file__).resolve().parents[3]
DEMO: Final = {"app/commands/demo.py", "app/demo/setup.py"}


def places(verb: str) -> set[str]:
    """The modules that have to name a verb.

    Not the nouns of the store, which write it into the ledger, nor the places of the screen that
    offer it: a verb is complete without them.
    """
    quoted = re.compile(rf'"{re.escape(verb)}"')
    found = {
        str(path.relative_to(ROOT))
        for room in ("app", "engine", "runbooks", "storage/control_socket")
        for path in (ROOT / room).rglob("*.py")
        if quoted.search(path.read_text())
    }
    screen = {name for name in found if name.startswith("app/screens/")} | {"app/actions.py"}
    return found - screen - DEMO


@pytest.mark.parametrize("verb", sorted(verbs.TABLE))
def test_a_verb_is_named_in_at_most_three_places(verb: str) -> None:
    """The table, its controller, its command; which process carries it out is in the table."""
    found = places(verb)
    assert "storage/control_socket/verbs.py" in found
    assert f"app/commands/{verbs.TABLE[verb].noun}.py" in found
    assert len(found) <= 3, found


def test_every_verb_of_control_has_one_controller() -> None:
    """Proved at the start of control, from the declarations beside the functions."""
    assert registry.load().keys() == verbs.carried_out_by(Process.CONTROL)


def test_a_verb_without_a_controller_keeps_control_from_starting() -> None:
    """And so does a controller without a verb, and a second controller of one verb."""
    with pytest.raises(registry.Misdeclared, match=r"no controller is declared for a\.b"):
        registry.check({"a.b"}, set())
    with pytest.raises(registry.Misdeclared, match=r"control does not carry out c\.d"):
        registry.check(set(), {"c.d"})
    registry.load()
    with pytest.raises(registry.Misdeclared, match=r"keys\.revoke has two controllers"):
        registry.controls("keys.revoke")
