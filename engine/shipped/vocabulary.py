"""What the shipped model can be asked: three kinds of things, their attributes, their phrasings.

Reads `vocabulary.toml`, which holds the words themselves and says how they are written. Never draws
anything; `world` does. Standard library only; anybody may import it.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATH = Path(__file__).with_suffix(".toml")
COUNTED = range(2, 100)  # the numbers that values count with; ids are larger


@dataclass(frozen=True, slots=True)
class Attribute:
    """One thing that can be said of a kind: its values and every way to state it and to ask for it.

    In the phrasings `{E}` is the entity at the start of a sentence ("Order 214"), `{e}` the same
    within one ("order 214"), `{v}` the value. The first fact is also the answer as a sentence.
    """

    name: str
    values: tuple[str, ...]
    facts: tuple[str, ...]
    questions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of thing: the ids that name its members and what can be said of them."""

    name: str
    ids: tuple[str, ...]
    attributes: tuple[Attribute, ...]

    def attribute(self, name: str) -> Attribute:
        """The attribute called `name`; KeyError when this kind has none."""
        for attribute in self.attributes:
            if attribute.name == name:
                return attribute
        raise KeyError(name)


def _attribute(said: Mapping[str, Any], words: Mapping[str, tuple[str, ...]]) -> Attribute:
    if "counted" in said:
        values = tuple(f"{number} {said['counted']}" for number in COUNTED)
    else:
        values = words[said["values"]]
    return Attribute(said["name"], values, tuple(said["facts"]), tuple(said["questions"]))


def _kinds(said: Mapping[str, Any]) -> tuple[Kind, ...]:
    words = {name: tuple(text.split()) for name, text in said["words"].items()}
    first, last = said["numbered"]["first"], said["numbered"]["last"]
    words["numbered"] = tuple(str(number) for number in range(first, last + 1))
    return tuple(
        Kind(
            kind["name"],
            words[kind["ids"]],
            tuple(_attribute(attribute, words) for attribute in kind["attributes"]),
        )
        for kind in said["kinds"]
    )


_SAID = tomllib.loads(PATH.read_text(encoding="utf-8"))
KINDS = _kinds(_SAID)
ORDER, SERVER, TICKET = KINDS
KIND_BY_NAME = {kind.name: kind for kind in KINDS}
REMARKS: tuple[str, ...] = tuple(_SAID["remarks"])
SMALL_TALK: tuple[tuple[str, str], ...] = tuple(
    (said, reply) for said, reply in _SAID["small_talk"]
)
