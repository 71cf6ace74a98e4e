"""Adding prompts: templates that cannot be compiled are refused and delay no other intent."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from engine.control.intents import Intents
from storage.home import clock
from storage.intents import State
from tests.engine.control.test_intents import Desk, desk


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
    """A look at the intent is enough: its handler needs no process any more."""
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
