"""What distinguishes two releases, field by field.

Pure. Imported by `app`, which shows it, and `engine.control`, which words outcomes with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from storage.release_content import Content

Field = str | int | float | bool | None
_NAMED = ("model", "base", "prompt")
_SETTINGS = ("sampling", "limits", "engine", "upstream", "server")


@dataclass(frozen=True, slots=True)
class Difference:
    """A field such as `sampling.temperature`; None where one side does not have it."""

    field: str
    before: Field
    after: Field


def between(before: Content, after: Content) -> tuple[Difference, ...]:
    """All fields that differ, in the order in which a release is written."""
    was, now = fields(before), fields(after)
    return tuple(
        Difference(name, was.get(name), now.get(name))
        for name in dict.fromkeys([*was, *now])
        if was.get(name) != now.get(name)
    )


def fields(content: Content) -> Mapping[str, Field]:
    """Every value in force, by its dotted name; lists are joined by spaces.

    A version is its name. Two versions of one name and different hashes, as after a model was
    removed and registered anew, are told apart by the beginning of the hash.
    """
    found: dict[str, Field] = {}
    for part in _NAMED:
        version = getattr(content, part)
        if version is not None:
            found[part] = version[0]
            found[f"{part}.sha256"] = version[1][:16]
    if content.follows is not None:
        found["follows"] = content.follows
    for part in _SETTINGS:
        settings = getattr(content, part)
        if settings is None:
            continue
        for name, value in msgspec.to_builtins(settings).items():
            if isinstance(value, dict):
                found |= {f"{part}.{name}.{key}": each for key, each in sorted(value.items())}
            else:
                plain = " ".join(map(str, value)) if isinstance(value, list) else value
                found[f"{part}.{name}"] = plain
    return found
