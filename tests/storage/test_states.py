"""docs/states.md says what the code does, because it is made from it."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import Any, Final

import pytest

import storage
from storage import models, moves
from tests.storage import state_diagrams

DOCUMENT: Final = Path(__file__).resolve().parents[2] / "docs" / "states.md"
HEAD: Final = """\
# States

Everything in Paddock that has states: which there are, who moves them, what a crash leaves, and
the moves that are legal. Made from the tables and enums in `storage/`;
`pytest tests/storage/test_states.py --snapshot-update` makes it anew.
"""


def tables() -> list[moves.Table[Any]]:
    """Every table of moves on the floor of storage, by noun."""
    found = {}
    for module in pkgutil.iter_modules(storage.__path__, "storage."):
        table = getattr(importlib.import_module(module.name), "MOVES", None)
        if isinstance(table, moves.Table):
            found[table.noun] = table
    return [found[noun] for noun in sorted(found)]


def test_the_document_of_states_is_made_from_the_tables(request: pytest.FixtureRequest) -> None:
    """Each machine with its diagram and with what is said of each state."""
    told = "\n".join([HEAD, *map(state_diagrams.chapter, tables())])
    if request.config.getoption("--snapshot-update"):
        DOCUMENT.write_text(told)
    assert DOCUMENT.read_text() == told


def test_a_diagram_shows_beginnings_moves_and_ends() -> None:
    """In Mermaid's language."""
    assert state_diagrams.mermaid(models.MOVES) == (
        "stateDiagram-v2\n"
        "    [*] --> registered\n"
        "    registered --> removed\n"
        "    registered --> unloadable\n"
        "    unloadable --> registered\n"
        "    unloadable --> removed\n"
        "    removed --> registered\n"
    )


def test_each_state_has_its_story() -> None:
    """A state without a sentence would be a row without a meaning."""
    nouns = [
        "A/B test",
        "alert",
        "deployment",
        "drill",
        "incident",
        "intent",
        "job",
        "model",
        "notification",
        "process",
        "rollout",
        "run",
    ]
    assert [table.noun for table in tables()] == nouns
    for table in tables():
        chapter = state_diagrams.chapter(table)
        for state in table.legal:
            assert f"- **{state.value}**: " in chapter
