"""A run on the screen: what is offered at each wait, who has it, its values and its timeline."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from app import snapshot
from app.screens import offered, walking
from app.screens import run as run_place
from app.screens.place import Offer, Program

ROW = snapshot.RunRow(
    id=7, runbook="high-latency", inputs="service=support", state="waiting", waits_for="next",
    waits_at="batch", taken_by="sara", actor="sara", began_at_us=1,
)  # fmt: skip
RUN = snapshot.BookRun(
    row=ROW,
    title="Bring it down",
    steps=(
        snapshot.RunStep(name="latency", sentence="Slow?", state="done", lines=("look  6000",)),
        snapshot.RunStep(name="batch", sentence="More.", state="now", lines=("would  2 → 16",)),
        snapshot.RunStep(name="scale", sentence="One more.", state="undone", lines=("undone  1",)),
        snapshot.RunStep(name="long", sentence="Cap answers.", state=""),
    ),
    events=((1_000_000, "sara", "began"), (2_000_000, "tom", "noted: the month end")),
    people=("sara", "tom"),
    effect="ops  max_running 2 → 16",
)  # fmt: skip


def text(lines: list[object]) -> str:
    """The rows as they are read."""
    return "\n".join("".join(piece for piece, _ in line) for line in lines)  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [80, 120])
def test_a_run_shows_who_has_it_and_who_acts_with_them(width: int) -> None:
    """Two people in one run see each other; the step that waits says what it would do."""
    head = text([*run_place.head(RUN, width)])
    assert "waiting at batch" in head
    assert "taken by sara   with tom" in head
    steps = text([*run_place.steps(RUN, width, ascii_only=True)])
    assert "+ 1. latency" in steps
    assert "> 2. batch" in steps
    assert "< 3. scale" in steps
    assert "would    2 → 16" in steps
    newest = text([*run_place.timeline(RUN, width)]).splitlines()[1]
    assert newest.split() == ["00:00:02", "tom", "noted:", "the", "month", "end"]


def test_where_the_room_is_short_what_has_ended_has_one_row_of_values() -> None:
    """The step at which the run waits keeps all of its rows; another look scrolls to the rest."""
    lines = ("look     16 (expected < 8)", "verify   p95 6000 → 2871 (expected <= 2000)", "done x")
    ended = snapshot.RunStep(name="long", sentence="Cap.", state="done", lines=lines)
    looked = snapshot.RunStep(name="first", sentence="Slow?", state="done", lines=lines[:1])
    here = snapshot.RunStep(name="batch", sentence="More.", state="now", lines=lines)
    run = replace(RUN, steps=(looked, ended, here))
    shown = text([*run_place.steps(run, 80, brief=True)]).splitlines()
    labels = [row.split()[0] for row in shown[1:]]
    assert labels == ["✔", "look", "✔", "verify", "▶", "look", "verify", "done"]
    assert len(run_place.steps(run, 80)) == len(shown) + 2


def test_where_the_room_is_short_the_keys_have_two_rows() -> None:
    """What the run waits for with its effect, the others by their words."""
    program = cast("Program", SimpleNamespace(refusal=lambda *_: ""))

    def offer(name: str) -> Offer | None:
        return walking.offer(name, ROW, RUN.effect)

    rows = text([*offered.brief(program, walking.shown(ROW), offer, 80)]).splitlines()
    assert rows[0].split() == ["G", "continue", "ops", "max_running", "2", "→", "16"]
    assert rows[1].split()[:2] == ["S", "skip"]
    assert "x abort" in rows[1]
    assert len(rows) == 2


@pytest.mark.parametrize(
    ("state", "waits_for", "keys"),
    [
        ("waiting", "next", "GSNTHx"),
        ("waiting", "confirm", "CSNTHx"),
        ("waiting", "decide", "RSNTHx"),
        ("running", "", "NTHx"),
        ("done", "", "u"),
    ],
)
def test_the_keys_are_those_of_what_it_waits_for(state: str, waits_for: str, keys: str) -> None:
    """Nothing else takes room; what is offered names the step that was seen."""
    ended = None if state in {"waiting", "running"} else 9
    row = snapshot.RunRow(
        id=7, runbook="high-latency", inputs="", state=state, waits_for=waits_for,
        waits_at="batch" if waits_for else "", ended_at_us=ended,
    )  # fmt: skip
    assert "".join(verb.key for verb in walking.shown(row)) == keys
    for verb in walking.VERBS:
        offer = walking.offer(verb.name, row, "max_running 2 → 16", "because")
        assert offer is not None
        fits = verb in walking.shown(row) or verb.name == "runbooks.note"
        assert (offer.unable == "") is fits, verb.name
        if fits and waits_for and verb.key in "gCRS":
            assert offer.arguments["step"] == "batch"


def test_a_runbook_is_started_with_what_is_typed() -> None:
    """Only what neither a default nor the box fills in has to be typed; it stops at each act."""
    book = snapshot.BookRow(
        name="slow", title="Be fast", when="slow", steps=2, content="a" * 64, fills=("deployment",),
        inputs=(("service", "?", ""), ("deployment", "?", ""), ("most", "?", "5")),
    )  # fmt: skip
    first = walking.start(book)
    assert first.form == "service="
    offer = walking.start(book, "service=support most=7")
    assert offer.arguments == {
        "inputs": {"service": "support", "most": "7"}, "content": "a" * 64, "pace": "step",
    }  # fmt: skip
    assert walking.start(book, "support").unable
