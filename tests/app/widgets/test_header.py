"""The header tells the truth in one row, at every width."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import words
from app.snapshot import Header, Node, Person, Trouble
from app.widgets import header, palette
from app.widgets.header import Mode

SECOND = 1_000_000
CLOCK = "03:12:07"
CRASHED = Trouble(brief="gateway crashed", sentence="gateway crashed: it was killed by SIGKILL.")
LONG = Trouble(
    brief="a-worker-of-a-long-name-1.2.3:1 crashed",
    sentence="a-worker-of-a-long-name-1.2.3:1 crashed: it was killed by SIGKILL.",
)
DOWN = Trouble(brief="NODE DOWN", sentence="The node is down; `paddock serve` starts it.")
SILENT = Trouble(
    brief="ops-1.0.0:1 silent 4 s",
    sentence="ops-1.0.0:1 has given no sign of life for 4 s: its heartbeats stopped.",
)
NOW = 1_741_921_927 * SECOND
HEADER = Header(
    host="box01",
    person=Person(name="sara", role="operator"),
    node=Node.UP,
    live=(("support", ((14, 9_000), (15, 1_000), (13, 0))),),
    synthetic=0.283,
    as_of_us=NOW,
    now_us=NOW,
)


def shown(width: int = 80, mode: Mode | None = None, **changes: object) -> str:
    """The line as text."""
    line = header.draw(dataclasses.replace(HEADER, **changes), mode or Mode(), width)  # type: ignore[arg-type]
    return palette.text(line)


def test_who_what_is_live_and_how_old_the_figures_are() -> None:
    """The line of an ordinary night."""
    assert shown() == (
        " box01 · sara   LIVE support r14 90% · r15 10%     synthetic 28%  RO  as of now "
    )


@given(
    st.integers(min_value=30, max_value=240),
    st.text(max_size=30),
    st.text(max_size=30),
    st.lists(st.integers(0, 10_000), min_size=1, max_size=12),
    st.sampled_from(tuple(Node)),
    st.lists(st.sampled_from((CRASHED, LONG))),
    st.sampled_from((Mode(), Mode(armed_us=1), Mode(frozen_us=NOW), Mode(armed_us=1, frozen_us=1))),
)
def test_the_line_is_exactly_as_wide_as_the_screen(
    width: int,
    host: str,
    person: str,
    weights: list[int],
    node: Node,
    troubles: list[Trouble],
    mode: Mode,
) -> None:
    """Neither long nor hostile names push out whether the screen may change something."""
    line = shown(
        width,
        mode,
        host=host,
        person=Person(name=person),
        node=node,
        live=(("support", tuple(enumerate(weights))),),
        troubles=tuple(troubles),
    )
    assert width == words.width(line)
    assert (" RO " in line) != (" RW 1 min " in line or " RW 1m " in line)
    if troubles and node is Node.UP:
        assert "▲" in line
    if width >= 60:
        assert line.endswith(("now ", "Z ", f"{CLOCK} ", "00:00:00 "))
    if mode.frozen_us is not None and width >= 40:
        assert "FROZEN" in line


@pytest.mark.parametrize(
    ("old_s", "said"),
    [(0, "as of now"), (3, "as of now"), (4, "as of 4 s ago"), (600, "as of 10 min ago")],
)
def test_the_age_of_the_figures_is_shown(old_s: int, said: str) -> None:
    """What is older than three seconds is not called now."""
    assert shown(now_us=NOW + old_s * SECOND).rstrip().endswith(said)


def test_a_clock_that_was_set_back_is_reported() -> None:
    """Measurements from the future mean that this clock, or that one, is wrong."""
    assert "clock is 10 min back" in shown(back_us=600 * SECOND)


def test_a_dead_node_is_shown_at_every_size() -> None:
    """Nothing is live, whatever the store says was."""
    for width in (40, 60, 80, 200):
        line = shown(width, node=Node.DOWN, troubles=(DOWN,))
        assert "▲ NODE DOWN" in line or "▲ The node is down" in line
        assert "LIVE" not in line
    assert "nothing is live" in shown(node=Node.DOWN, troubles=(DOWN,))


def test_a_store_that_cannot_be_read_is_trouble() -> None:
    """Nothing is claimed: not what is live, and not how old it is."""
    line = shown(node=Node.ASKING, error="The store is damaged.", as_of_us=None)
    assert "▲ store unreadable" in line
    assert "LIVE" not in line
    assert line.endswith("RO  age unknown ")
    assert "no box here" in shown(node=Node.ABSENT, error="There is none.", as_of_us=None)
    assert "▲ NODE DOWN" in shown(node=Node.DOWN, error="Only its owner reads.", as_of_us=None)


def test_a_part_that_crashed_is_named() -> None:
    """The first one, and how many more; with room the whole sentence."""
    line = shown(troubles=(CRASHED, LONG, SILENT))
    assert "▲ gateway crashed +2 (!)" in line
    assert "support r14 90% r15 10%" in line
    wide = shown(160, troubles=(SILENT,))
    assert "▲ ops-1.0.0:1 has given no sign of life for 4 s: its heartbeats stopped  " in wide


def test_nothing_is_called_live_while_its_clients_get_no_answer() -> None:
    """The split as set is shown, without the word."""
    down = dataclasses.replace(CRASHED, unanswered=True)
    for width in (80, 120, 200):
        assert "LIVE support r14 90%" in shown(width)
        line = shown(width, troubles=(SILENT, down))
        assert "support r14 90%" in line
        assert "LIVE" not in line
    assert "LIVE" in shown(160, troubles=(SILENT,))


@pytest.mark.parametrize("width", [80, 120, 200])
@pytest.mark.parametrize("troubles", [(), (SILENT,), (SILENT, CRASHED)])
def test_a_frozen_screen_that_may_change_things_drops_neither_weights_nor_trouble(
    width: int, troubles: tuple[Trouble, ...]
) -> None:
    """FROZEN is beside what is wrong and what is live, never in place of them."""
    mode = Mode(armed_us=15 * 60 * SECOND, frozen_us=NOW)
    line = shown(width, mode, troubles=troubles)
    assert ("▲ ops-1.0.0:1" in line) == bool(troubles)
    for needed in ("r14 90%", "r15 10%", "RW 15", "FROZEN 03:12:07"):
        assert needed in line


def test_what_is_live_gets_shorter_before_it_is_cut() -> None:
    """The share of synthetic load, labels and names go first; then the weights."""
    assert "LIVE support r14 90% · r15 10%" in shown(72)
    assert "support r14 90% r15 10%" in shown(50)
    assert "support r14 r15" in shown(34)
    assert "support 2 arms" in shown(26)
    assert "LIVE 2 services" in shown(live=(("a", ()), ("b", ())))
    assert "LIVE support r14 " in shown(live=(("support", ((14, 10_000), (15, 0))),))
    assert "no service yet" in shown(live=())


def test_an_armed_screen_is_red_and_says_for_how_long() -> None:
    """Every cell of the line changes its ground."""
    line = header.draw(HEADER, Mode(armed_us=14 * 60 * SECOND + 1), 80)
    assert " RW 15 min " in palette.text(line)
    assert {str(palette.style(name).bgcolor) for _, name in line} == {
        str(palette.style("rw").bgcolor)
    }


def test_a_frozen_picture_says_since_when() -> None:
    """It cannot be taken for the present."""
    assert "FROZEN 03:12:07Z" in shown(mode=Mode(frozen_us=NOW))
