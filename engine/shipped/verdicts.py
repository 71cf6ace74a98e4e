"""Judges replies to generated questions: the claim is checked, not the wording.

Never runs a model. Standard library only. Imported by `held_out` and the model factory.
"""

import enum
import re

from engine.shipped import vocabulary, world


class Verdict(enum.Enum):
    """The verdict on a reply."""

    CORRECT = "correct"  # the value asked for, or a refusal if the notes do not have it
    WRONG = "wrong value"  # the notes have the answer; the reply claims another, or none
    DECLINED = "declined"  # the notes have the answer; the reply says that it is unknown
    HALLUCINATED = "hallucinated"  # the notes do not have the answer; the reply does not say so


_WORD = re.compile(r"[a-z]+|[0-9]+")
_DECLINE = re.compile(
    r"\bunknown\b|\b(?:do not|don't|cannot|can't) (?:know|tell|say|find)\b|\bnot sure\b"
    r"|\bno information\b|\bsays? nothing\b|\bdo(?:es)? not (?:give|state|say)\b|\bnot stated\b"
)
_NEGATION = re.compile(r"\bnot\b|n't\b|\bnever\b|\bno\b")
_ENTITY = re.compile(r"\b(?:order|server|ticket) (\w+)|\b(\d{3})\b")
_IDS = frozenset(id for kind in vocabulary.KINDS for id in kind.ids)


def judge(item: world.Item, answer: str) -> Verdict:
    """The verdict on `answer` as a reply to `item`.

    A claim is correct if it names the right value of the attribute and no other, mentions no other
    entity, and does not negate the value. A number may lack its unit.
    """
    text = answer.lower()
    claimed = _claimed(item, text)
    declined = _DECLINE.search(text) is not None and not claimed
    if item.value is None:
        return Verdict.CORRECT if declined else Verdict.HALLUCINATED
    if declined:
        return Verdict.DECLINED
    right = claimed == {item.value} and not _NEGATION.search(text)
    return Verdict.CORRECT if right and _entities(text) <= {item.entity} else Verdict.WRONG


def _claimed(item: world.Item, text: str) -> set[str]:
    """The values of the attribute that `text` names; "server rabbit" does not name "Rabbit"."""
    words = _WORD.findall(_ENTITY.sub(" ", text))
    attribute = vocabulary.KIND_BY_NAME[item.kind].attribute(item.attribute)
    return {value for value in attribute.values if _holds(words, value.lower())}


def _holds(words: list[str], value: str) -> bool:
    head, _, unit = value.partition(" ")
    if not unit:
        return head in words
    return any(
        word == head and words[place + 1 : place + 2] in ([], [unit])
        for place, word in enumerate(words)
    )


def _entities(text: str) -> set[str]:
    return {id for found in _ENTITY.findall(text) for id in found if id in _IDS}
