"""Labels of prompts: they move, every move is kept, and going back never toggles."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncSession

from storage import errors, ledger, prompt_labels, prompts, splits
from storage import store as stores
from storage.store import Store
from tests import old_homes
from tests.storage import fixtures


async def three(s: AsyncSession) -> None:
    """Three versions of `terse`."""
    for text in ("one", "two", "three"):
        await fixtures.prompt(s, text)


async def test_moves_are_in_the_ledger(store: Store) -> None:
    """With where the label was; pointing it where it points already is no move."""

    async def work(s: AsyncSession) -> None:
        await three(s)
        for number in (1, 1, 2):
            await prompts.label(s, "terse", "production", number, "sara", 5, None)
        assert await prompts.labels(s, "terse") == {"production": 2}
        told = await ledger.of(s, "prompt", "terse:production")
        assert [(entry.before, entry.after) for entry in told] == [(1, 2), (None, 1)]
        moves = await prompt_labels.history(s, "terse", "production")
        assert [move.number for move in moves] == [2, 1]

    await store.write(work)


async def test_a_label_that_was_removed_may_be_set_again(store: Store) -> None:
    """Its moves stay, and so does the version; removing it twice is an error."""

    async def work(s: AsyncSession) -> None:
        await three(s)
        for number in (1, 2):
            await prompts.label(s, "terse", "beta", number, "sara", 5, None)
        gone = await prompt_labels.remove(s, prompt="terse", label="beta", actor="lee", at_us=6)
        assert gone.number == 2
        assert await prompts.labels(s, "terse") == {}
        with pytest.raises(errors.NotFound, match="terse has no label beta"):
            await prompt_labels.remove(s, prompt="terse", label="beta", actor="lee", at_us=6)
        await prompts.label(s, "terse", "beta", 2, "sara", 7, None)
        moves = await prompt_labels.history(s, "terse", "beta")
        assert [move.number for move in moves] == [2, 2, 1]
        told = await ledger.of(s, "prompt", "terse:beta")
        assert [(entry.before, entry.after) for entry in told] == [
            (None, 2), (2, None), (1, 2), (None, 1),
        ]  # fmt: skip

    await store.write(work)


@pytest.mark.parametrize(
    ("label", "number", "error", "said"),
    [
        ("latest", 1, errors.Invalid, "moves by itself"),
        ("Beta", 1, errors.BadName, "1 to 36 characters"),
        ("b" * 37, 1, errors.BadName, "1 to 36 characters"),
        ("beta", 7, errors.NotFound, "terse has versions 1 to 3"),
    ],
)
async def test_what_a_label_may_not_be_or_point_at(
    store: Store, label: str, number: int, error: type[Exception], said: str
) -> None:
    """Refused, and no label is set."""
    await store.write(three)
    with pytest.raises(error, match=said):
        await store.write(lambda s: prompts.label(s, "terse", label, number, "sara", 1, None))
    async with store.read() as s:
        assert await prompts.labels(s, "terse") == {}


_serial = itertools.count()  # each example has a prompt to itself
steps = st.lists(st.sampled_from(["undo", 1, 2, 3]), max_size=12)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=steps)
async def test_going_back_goes_to_the_version_before_and_stays_there(
    store: Store, steps: list[int | str]
) -> None:
    """Against a model: the label and the version that it had before its last move by hand."""
    name = f"p{next(_serial)}"

    async def work(s: AsyncSession) -> None:
        for text in ("one", "two", "three"):
            await fixtures.prompt(s, text, name=name)
        at: int | None = None
        before: int | None = None
        for step in steps:
            if isinstance(step, int):
                await prompts.label(s, name, "beta", step, "sara", 1)
                if step != at:
                    at, before = step, at
            else:
                history = await prompt_labels.history(s, name, "beta", limit=2)
                target = splits.roll_back_target(history)
                assert (target is None) == (before is None)
                if target is not None:
                    await prompt_labels.go_back(
                        s, prompt=name, label="beta", to=target, actor="kim", at_us=2
                    )
                    at = before
            assert (await prompts.labels(s, name)).get("beta") == at

    await store.write(work)


async def test_going_back_to_a_move_that_was_never_made_is_refused(store: Store) -> None:
    """A move of another label is none of this one."""

    async def work(s: AsyncSession) -> None:
        await three(s)
        await prompts.label(s, "terse", "beta", 1, "sara", 1)
        await prompts.label(s, "terse", "production", 1, "sara", 1)
        other = (await prompt_labels.history(s, "terse", "production"))[0].id
        for to in (other, 99):
            with pytest.raises(errors.NotFound, match=f"terse:beta never made a move {to}"):
                await prompt_labels.go_back(
                    s, prompt="terse", label="beta", to=to, actor="kim", at_us=2
                )

    await store.write(work)


async def test_a_label_is_protected_until_it_is_not(store: Store) -> None:
    """Each change once, in the ledger; a label that does not exist cannot be protected."""

    async def work(s: AsyncSession) -> list[bool]:
        await three(s)
        asked: dict[str, Any] = {"prompt": "terse", "label": "beta", "actor": "root", "at_us": 9}
        with pytest.raises(errors.NotFound, match="terse has no label beta"):
            await prompt_labels.protect(s, on=True, **asked)
        await prompts.label(s, "terse", "beta", 1, "sara", 1)
        changed = [await prompt_labels.protect(s, on=on, **asked) for on in (True, True)]
        assert (await prompt_labels.find(s, "terse", "beta")).protected_by == "root"
        await prompts.label(s, "terse", "beta", 2, "root", 1)
        assert (await prompt_labels.find(s, "terse", "beta")).protected_by == "root"
        changed += [await prompt_labels.protect(s, on=on, **asked) for on in (False, False)]
        assert (await prompt_labels.find(s, "terse", "beta")).protected_by is None
        return changed

    assert await store.write(work) == [True, False, True, False]


async def test_the_moves_of_an_old_home_are_those_of_its_ledger(tmp_path: Path) -> None:
    """Labels that were moved before moves were kept can be moved back."""
    home = old_homes.first_light(tmp_path / "home")
    with contextlib.closing(sqlite3.connect(home.database)) as database:
        database.execute(
            "INSERT INTO prompts SELECT 3, prompt, 2, '[]', '[]', 'x', author, comment, 1 "
            "FROM prompts WHERE id = 1"
        )
        database.execute("INSERT INTO prompt_labels VALUES ('helpful', 'beta', 1, 7, 'kim', 2)")
        for number in (1, 2, 1):
            database.execute(
                "INSERT INTO ledger (at_us, actor, verb, noun, key, after, intent_id) "
                "VALUES (7, 'kim', 'prompts.label', 'prompt', 'helpful:beta', ?, 2)",
                (str(number),),
            )
        database.commit()
    store = await stores.open(home)
    try:
        async with store.read() as s:
            moves = await prompt_labels.history(s, "helpful", "beta")
            assert [move.number for move in moves] == [1, 2, 1]
            assert (await prompt_labels.find(s, "helpful", "beta")).number == 1
            assert splits.roll_back_target(moves) == moves[1].id
    finally:
        await store.close()
