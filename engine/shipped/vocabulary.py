"""The vocabulary of the shipped model: kinds of things, their attributes and phrasings.

Reads `vocabulary.toml`, which has the words and documents their format. Generates nothing; `world`
does. Standard library only. Imported by `engine.shipped` and the model factory.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATH = Path(__file__).with_suffix(".toml")
COUNTED = range(2, 100)  # the numbers in values; ids are larger


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute of a kind: its values, and the phrasings that state it and ask for it.

    In the phrasings, `{E}` is the entity at the start of a sentence ("Order 214"), `{e}` the same
    within one ("order 214"), `{v}` the value. The first fact is also the answer as a sentence.
    """

    name: str
    values: tuple[str, ...]
    facts: tuple[str, ...]
    questions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of thing: the ids of its members, and its attributes."""

    name: str
    ids: tuple[str, ...]
    attributes: tuple[Attribute, ...]

    def attribute(self, name: str) -> Attribute:
        """The attribute called `name`; KeyError if this kind has none."""
        for attribute in self.attributes:
            if attribute.name == name:
                return attribute
        raise KeyError(name)


def _attribute(entry: Mapping[str, Any], words: Mapping[str, tuple[str, ...]]) -> Attribute:
    if "counted" in entry:
        values = tuple(f"{number} {entry['counted']}" for number in COUNTED)
    else:
        values = words[entry["values"]]
    return Attribute(entry["name"], values, tuple(entry["facts"]), tuple(entry["questions"]))


def _kinds(data: Mapping[str, Any]) -> tuple[Kind, ...]:
    words = {name: tuple(text.split()) for name, text in data["words"].items()}
    first, last = data["numbered"]["first"], data["numbered"]["last"]
    words["numbered"] = tuple(str(number) for number in range(first, last + 1))
    return tuple(
        Kind(
            kind["name"],
            words[kind["ids"]],
            tuple(_attribute(attribute, words) for attribute in kind["attributes"]),
        )
        for kind in data["kinds"]
    )


_DATA = tomllib.loads(PATH.read_text(encoding="utf-8"))
KINDS = _kinds(_DATA)
ORDER, SERVER, TICKET = KINDS
KIND_BY_NAME = {kind.name: kind for kind in KINDS}
REMARKS: tuple[str, ...] = tuple(_DATA["remarks"])
SMALL_TALK: tuple[tuple[str, str], ...] = tuple(
    (message, reply) for message, reply in _DATA["small_talk"]
)
