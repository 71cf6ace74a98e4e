"""Adding prompts: templates that cannot be compiled are refused and delay no other intent."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from engine.control.intents import Intents
from storage import prompts
from storage.home import clock
from storage.intents import State
from storage.store import Session
from tests.engine.control.desks import Desk, desk


@pytest_asyncio.fixture
async def control(tmp_path: Path) -> AsyncIterator[Desk]:
    """Control on a new store."""
    async with desk(tmp_path / "home") as made:
        yield made


def messages(template: str) -> list[dict[str, str]]:
    """A prompt of two messages, the second with this template."""
    return [{"role": "system", "template": "You help."}, {"role": "user", "template": template}]


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{% for a in b %}" * 120 + "{% endfor %}" * 120, "it is nested too deeply or too large"),
        ("{{ " + "1" * 5000 + " }}", "a number in it has too many digits"),
        ("x" * 1_000_001, "it has 1000001 characters; a template may have 1000000"),
    ],
)
async def test_what_the_compiler_cannot_take_is_refused_with_its_place(
    control: Desk, template: str, said: str
) -> None:
    """It is the template's fault, and the sentence says so; control has not failed."""
    intent = await control.do("prompts.add", "terse", prompt="terse", messages=messages(template))
    assert intent.state is State.REFUSED
    assert (intent.outcome or "").startswith(f"In message 2 (user) of terse: {said}")


async def test_templates_are_compiled_before_the_transaction_that_keeps_them(
    control: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checking the intent is enough: its handler needs no process."""
    number = await control.accept(
        "prompts.add", "early", prompt="early", messages=messages("compiled early")
    )
    async with control.store.read() as session:
        await Intents().observe(session, clock.now_us())
    monkeypatch.setattr(sys, "executable", "/proc/nope")
    assert (await control.ended(number)).state is State.APPLIED


async def test_an_intent_fails_where_no_process_can_be_started(
    control: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not wait for ever, and says why."""
    monkeypatch.setattr(sys, "executable", "/proc/nope")
    intent = await control.do("prompts.add", "late", prompt="late", messages=messages("late"))
    assert intent.state is State.FAILED
    assert "late cannot be compiled now" in (intent.outcome or "")


async def test_a_response_schema_is_said_not_to_constrain_answers_yet(control: Desk) -> None:
    """The outcome says so when the version is added."""
    intent = await control.do(
        "prompts.add", "terse", prompt="terse", messages=messages("Hi."),
        response_schema={"type": "object"},
    )  # fmt: skip
    assert intent.outcome == (
        "Created terse@1. Its response schema is kept with it; answers are not constrained by it "
        "yet."
    )


ENDLESS = "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}"


async def test_a_template_that_loops_for_ever_is_never_kept(control: Desk) -> None:
    """The trial ends it, and the refusal names the message and the line."""
    intent = await control.do(
        "prompts.add", "terse", prompt="terse", messages=messages(f"Hi.\n{ENDLESS}")
    )
    assert intent.state is State.REFUSED
    assert (intent.outcome or "").startswith("In message 2 (user) of terse, line 2: ")


async def test_a_label_never_moves_to_a_version_that_loops_for_ever(control: Desk) -> None:
    """One that was stored before versions were tried; the label stays where it is."""

    async def old(s: Session) -> None:
        for template in ("fine", ENDLESS):
            said = [prompts.Message(role="system", template=template)]
            await prompts.add(
                s, prompt="terse", messages=said, variables=[], author="a", comment="", at_us=1
            )

    await control.store.write(old)
    done = await control.do("prompts.label", "terse", 0, label="production", number=1)
    assert done.state is State.APPLIED
    intent = await control.do("prompts.label", "terse", 1, label="production", number=2)
    assert intent.state is State.REFUSED
    assert (intent.outcome or "").startswith("In message 1 (system) of terse@2, line 1: ")
    assert await labels(control) == {"production": 1}


async def labels(control: Desk) -> dict[str, int]:
    """The labels of `terse`."""
    async with control.store.read() as s:
        return await prompts.labels(s, "terse")


async def test_only_admins_move_a_protected_label(control: Desk) -> None:
    """Forward or back; the refusal of an operator names who protected it."""
    for template in ("one", "two"):
        await control.do("prompts.add", "terse", prompt="terse", messages=messages(template))
    for number in (1, 2):
        await control.do("prompts.label", "terse", label="production", number=number)
    for said in ("only admins move it.", "only admins move it; no change."):
        done = await control.do("prompts.protect", "terse", label="production")
        assert done.outcome == f"terse:production is protected: {said}"
    control.role = "operator"
    for verb, asked in (("label", {"number": 1}), ("undo", {"to": 1})):
        refused = await control.do(f"prompts.{verb}", "terse", label="production", **asked)
        assert refused.state is State.REFUSED
        assert "was protected by kim: moving it takes the role admin" in (refused.outcome or "")
    assert await labels(control) == {"production": 2}
    control.role = "admin"
    done = await control.do("prompts.label", "terse", label="production", number=1)
    assert done.state is State.APPLIED


async def test_going_back_twice_changes_a_label_once(control: Desk) -> None:
    """The second of two people who press undo learns that it is done."""
    for template in ("one", "two"):
        await control.do("prompts.add", "terse", prompt="terse", messages=messages(template))
    for number in (1, 2):
        await control.do("prompts.label", "terse", label="beta", number=number)
    for said in ("terse:beta is terse@1 (before: terse@2).", "already back at terse@1; no change."):
        done = await control.do("prompts.undo", "terse", label="beta", to=1)
        assert done.state is State.APPLIED
        assert said in (done.outcome or "")
    lost = await control.do("prompts.undo", "terse", label="beta", to=9)
    assert "terse:beta never made a move 9" in (lost.outcome or "")
    assert await labels(control) == {"beta": 1}


async def test_the_second_of_two_moves_at_once_is_told(control: Desk) -> None:
    """Both saw version 1; one wins, and the label is where the winner put it."""
    for template in ("one", "two", "three"):
        await control.do("prompts.add", "terse", prompt="terse", messages=messages(template))
    await control.do("prompts.label", "terse", 0, label="beta", number=1)
    first = await control.accept("prompts.label", "terse", 1, label="beta", number=2)
    second = await control.accept("prompts.label", "terse", 1, label="beta", number=3)
    assert (await control.ended(first)).state is State.APPLIED
    lost = await control.ended(second)
    assert lost.state is State.REFUSED
    assert lost.outcome == "terse:beta changed since you looked: it is terse@2. Look again."
    assert await labels(control) == {"beta": 2}


async def test_a_move_to_a_version_that_needs_more_says_so(control: Desk) -> None:
    """Clients that do not send the variable would learn it by their errors."""
    await control.do("prompts.add", "terse", prompt="terse", messages=messages("one"))
    needed = [{"name": "tone", "required": True}]
    await control.do(
        "prompts.add", "terse", prompt="terse", messages=messages("{{ tone }}"), variables=needed
    )
    outcomes = [
        (await control.do("prompts.label", "terse", label="beta", number=number)).outcome or ""
        for number in (1, 2, 1)
    ]
    said = "Requests without tone are refused from now on."
    assert [said in outcome for outcome in outcomes] == [False, True, False]


async def test_a_label_that_moved_is_not_moved_over(furnished: Desk) -> None:
    """`expected_version` is the number that it pointed at; the outcome says what it changes."""
    for text in ("one", "two"):
        message = {"role": "system", "template": text}
        await furnished.do("prompts.add", "terse", prompt="terse", messages=[message])
    moved = await furnished.do("prompts.label", "terse", 0, label="production", number=1)
    assert "Releases keep the prompt version that they were created with." in (moved.outcome or "")
    late = await furnished.do("prompts.label", "terse", 0, label="production", number=2)
    assert late.state is State.REFUSED
    assert "terse:production changed since you looked: it is terse@1" in (late.outcome or "")
