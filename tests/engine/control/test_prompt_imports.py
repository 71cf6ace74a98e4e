"""Imports of prompts: all versions or none, and once, however often they are asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from engine.control import prompt_imports
from engine.control.decisions import Refusal
from engine.control.prompt_imports import Observed
from storage import ledger, prompts
from storage.control_socket import verbs
from storage.intents import Intent, State
from storage.prompts import Message, Summary
from tests.engine.control.desks import Desk, desk
from tests.engine.control.test_prompts import ENDLESS


@pytest_asyncio.fixture
async def control(tmp_path: Path) -> AsyncIterator[Desk]:
    """Control on a new store."""
    async with desk(tmp_path / "home") as made:
        yield made


def version(number: int, template: str = "", prompt: str = "terse", **more: Any) -> dict[str, Any]:
    """A version as it is asked for."""
    messages = [{"role": "system", "template": template or f"version {number}"}]
    return {"prompt": prompt, "number": number, "messages": messages, **more}


async def imported(control: Desk, *versions: dict[str, Any], dry_run: bool = False) -> Intent:
    """The intent of an import that has ended."""
    return await control.do("prompts.import", "terse", versions=list(versions), dry_run=dry_run)


async def known(control: Desk) -> list[str]:
    """The names of all versions."""
    async with control.store.read() as s:
        return [each.name for each in await prompts.every(s)]


async def test_an_import_creates_what_is_new_and_then_nothing(control: Desk) -> None:
    """With the authors and times of the files; the ledger says who imported them."""
    first = version(1, author="ada", created_at_us=7, tag="1.0.0")
    second = version(2, author="ada", parent=1, comment="better")
    done = await imported(control, second, version(1, prompt="kind"), first)
    assert done.outcome == "Created kind@1, terse@1, terse@2."
    async with control.store.read() as s:
        one, two = await prompts.versions(s, "terse")
        (entry,) = await ledger.of(s, "prompt", "terse@1")
    assert (one.author, one.created_at_us, one.tag) == ("ada", 7, "1.0.0")
    assert (two.parent, two.comment) == (1, "better")
    assert entry.actor == "kim"
    again = await imported(control, first, second)
    assert (again.state, again.outcome) == (State.APPLIED, "All 2 versions are here; no change.")
    more = await imported(control, first, second, version(3))
    assert more.outcome == "Created terse@3. 2 of 3 are here already."


async def test_a_dry_run_says_the_same_and_changes_nothing(control: Desk) -> None:
    """It is checked as the import itself is, and refused as that would be."""
    done = await imported(control, version(1), version(2), dry_run=True)
    said = "Would create terse@1, terse@2; nothing was changed."
    assert (done.state, done.outcome) == (State.APPLIED, said)
    bad = version(2, parent=2)
    refused = [await imported(control, version(1), bad, dry_run=dry) for dry in (True, False)]
    assert {each.state for each in refused} == {State.REFUSED}
    assert refused[0].outcome == refused[1].outcome
    assert await known(control) == []


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (version(3, ENDLESS), "In message 1 (system) of terse@3, line 1: "),
        (version(3, "{% if %}"), "In message 1 (system) of terse@3, line 1: "),
        (version(3, "{{ x }}"), "x is no variable of the prompt"),
        (version(3, parent=3), "terse@3 cannot be made from terse@3: the parent of a version is"),
        (version(3, parent=4), "the parent of a version is an earlier one"),
        (version(3, tag="1.0.0"), "terse@1 is tagged 1.0.0 already"),
        (version(4), "terse@4 cannot be imported: terse@3 comes before it and is not there"),
        (version(1, "other"), "terse@1 has other content here; a version never changes."),
        (version(1), "terse@1 has 1.0.0 here, not no tag"),
        (version(2), "terse@2 is given twice"),
    ],
)
async def test_one_version_that_cannot_be_stops_the_import(
    control: Desk, bad: dict[str, Any], said: str
) -> None:
    """Nothing of it is there afterwards, not even what came before."""
    await imported(control, version(1, tag="1.0.0"))
    refused = await imported(control, version(2), version(1, prompt="kind"), bad)
    assert refused.state is State.REFUSED
    assert said in (refused.outcome or "")
    assert await known(control) == ["terse@1"]


def asked(prompt: str, number: int) -> verbs.prompts.VersionImport:
    """A version that is asked for."""
    messages = (Message(role="system", template=f"{number}"),)
    return verbs.prompts.VersionImport(prompt=prompt, number=number, messages=messages)


def here(prompt: str, number: int) -> Summary:
    """The same version in the store."""
    content = prompts.content(asked(prompt, number).messages, ())
    return Summary(
        id=number, prompt=prompt, number=number, tag=None, sha256=content, parent=None,
        author="a", comment="", created_at_us=1,
    )  # fmt: skip


@given(
    have=st.dictionaries(st.sampled_from("ab"), st.integers(0, 5)),
    want=st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 8)), unique=True),
)
def test_what_is_created_continues_each_prompt_without_a_gap(
    have: dict[str, int], want: list[tuple[str, int]]
) -> None:
    """Or it is refused, exactly when a number would be left out."""
    observed = Observed(
        {name: {n: here(name, n) for n in range(1, last + 1)} for name, last in have.items()}
    )
    gaps = any(
        number > have.get(name, 0) + 1 and (name, number - 1) not in want for name, number in want
    )
    try:
        fresh = prompt_imports.decide([asked(*each) for each in want], observed)
    except Refusal:
        assert gaps
        return
    assert not gaps
    expected = sorted(pair for pair in want if pair[1] > have.get(pair[0], 0))
    assert [(each.prompt, each.number) for each in fresh] == expected
