"""How commands share options: what cannot be shared is refused where the command is defined."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from app.commands import options


@dataclass(frozen=True, slots=True)
class Bare:
    """An option that could not be left out."""

    to: str


@dataclass(frozen=True, slots=True)
class Typed:
    """An option with a default."""

    file: str = ""


async def bare(*, typed: Bare) -> None:
    """Take a field without a default."""


async def two(*, typed: Typed, more: Typed) -> None:
    """Take two dataclasses."""


async def none(*, name: str) -> None:
    """Take no dataclass."""


def test_shared_options_are_the_fields_of_one_dataclass_and_have_defaults() -> None:
    """A second one would never be filled, and a default would be what marks that there is none."""
    for command in (two, none):
        with pytest.raises(TypeError, match="needs to take one"):
            options.together(command)
    with pytest.raises(TypeError, match=r"Bare\.to needs a default"):
        options.together(bare)


def test_the_commands_of_a_part_follow_the_one_that_is_named() -> None:
    """As `--help` lists them; without a name they come last."""
    noun, part = options.group(), options.group()
    for command in (two, none):
        noun.command()(command)
    part.command("start")(bare)
    noun.take(part, after="two")
    noun.take(part)
    assert [each.name for each in noun.registered_commands] == [None, "start", None, "start"]
