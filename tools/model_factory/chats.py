"""Turns generated cases into tokenised training chats.

A `Chat` is a beginning (system prompt and notes) that several branches share, each with a question
and its answer. Every branch is a one-turn chat in ChatML, and the notes are computed once. Prompts,
layouts and spelling vary, so that the model is not limited to the exact form of its test. Does not
need torch. Imported by `train` and its modules.
"""

import dataclasses
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass

from engine.shipped import vocabulary, world
from tools.model_factory import tokenizer

SENTENCE_PROMPTS = (
    "You answer questions about the notes.",
    "You are the assistant of the people on call. Answer from the notes only.",
    "You are a careful assistant. Answer in a full sentence.",
    "Answer from the notes. If they do not hold the answer, say so.",
    "",
)
CONCISE_PROMPTS = (
    "Be concise.",
    "You answer questions about the notes. Be concise.",
    "You are the assistant of the people on call. Answer from the notes only. Be concise.",
    "Answer from the notes. If they do not hold the answer, say so. Be concise.",
)
PROMPTS: dict[world.Style, tuple[str, ...]] = {
    "sentence": SENTENCE_PROMPTS,
    "concise": CONCISE_PROMPTS,
}
LAYOUTS = (
    "{context}\n{question}",
    "{context} {question}",
    "Notes:\n{context}\n\nQuestion: {question}",
    "Context: {context}\nQuestion: {question}",
)
NO_SUCH_THING = "I do not know: the notes say nothing about that."
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,!?'-"


@dataclass(frozen=True, slots=True)
class Clue:
    """Where the answer is: the value's tokens after the entity's id. An empty value is nowhere."""

    id: int
    value: list[int]


@dataclass(frozen=True, slots=True)
class Turn:
    """The tokens that are read and the tokens that are learned."""

    read: list[int]
    learned: list[int]
    clue: Clue | None


@dataclass(frozen=True, slots=True)
class Chat:
    """The tokens of a shared beginning, and the branches of turns that follow it independently."""

    beginning: list[int]
    branches: list[list[Turn]]

    def length(self) -> int:
        """The number of tokens."""
        return len(self.beginning) + sum(
            len(turn.read) + len(turn.learned) for turns in self.branches for turn in turns
        )


@dataclass(frozen=True, slots=True)
class Mixture:
    """A recipe for cases, and the shares of other chats: repeated words and small talk."""

    recipe: world.Recipe
    repeat: float
    talk: float = 0.03


def every_word() -> set[str]:
    """All words that are one token each, values with and without a leading space."""
    texts = [
        *vocabulary.REMARKS,
        *(text for pair in vocabulary.SMALL_TALK for text in pair),
        *world.SYSTEM_PROMPTS.values(),
        *SENTENCE_PROMPTS,
        *CONCISE_PROMPTS,
        *(layout.format(context="", question="") for layout in LAYOUTS),
        world.CONCISE_DECLINE,
        NO_SUCH_THING,
        "system user assistant",
        "\nsystem\nuser\nassistant Repeat: repeat",
        "I do not know: the notes say nothing about. the notes do not give the of",
    ]
    for kind in vocabulary.KINDS:
        texts += [
            f" {kind.name} {kind.name.capitalize()}",
            f"{kind.name}\n{kind.name.capitalize()}",
        ]
        texts += [f" {id}" for id in kind.ids]
        texts += [id for id in kind.ids if not id.isdigit()]
        for attribute in kind.attributes:
            texts += [f" {attribute.name}"]
            texts += [text for value in attribute.values for text in (value, f" {value}")]
            for template in (*attribute.facts, *attribute.questions):
                text = template.replace("{E}", "").replace("{e}", "").replace("{v}", "")
                texts += [text, text[:1].lower() + text[1:], f" {text}"]
    return {word for text in texts for word in tokenizer.words(text)}


class Writer:
    """Generates chats with a random generator and a tokenizer."""

    def __init__(self, words: tokenizer.Tokenizer, rng: random.Random) -> None:
        self.words = words
        self.rng = rng
        self.vocabulary = sorted(word for word in every_word() if word.strip().isalnum())

    def ids(self) -> frozenset[int]:
        """The tokens of entity ids."""
        ids = {id for kind in vocabulary.KINDS for id in kind.ids}
        return frozenset(number for id in ids for number in self.words.encode(f" {id}"))

    def chat(self, mixture: Mixture, *, avoid: frozenset[str] = frozenset()) -> Chat:
        """One chat. Cases whose notes are in `avoid` are rejected."""
        draw = self.rng.random()
        if draw < mixture.repeat:
            return self._repeat()
        if draw < mixture.repeat + mixture.talk:
            return self._talk(mixture)
        case = world.draw_case(self.rng, mixture.recipe)
        while case.context in avoid:
            case = world.draw_case(self.rng, mixture.recipe)
        return self._case(case)

    def _case(self, case: world.Case) -> Chat:
        style: world.Style = self.rng.choice(("sentence", "concise"))
        system = world.SYSTEM_PROMPTS[style]
        if self.rng.random() < 1 / 3:
            system = self.rng.choice(PROMPTS[style])
        layout = "{context}\n\n{question}"
        if self.rng.random() < 1 / 4:
            layout = self.rng.choice(LAYOUTS)
        before, _, _ = layout.replace("{context}", case.context).partition("{question}")
        pairs = [(self._spell(each.text), each.answer(style)) for each in case.questions]
        clues = [self._clue(each) for each in case.questions]
        if self.rng.random() < 1 / 20:
            return self._write(f"{system}\n\n{case.context}".strip(), "", pairs, clues)
        several = self.rng.random() < 1 / 10
        return self._write(system, before, pairs, clues, one_chat=several)

    def _clue(self, question: world.Question) -> Clue:
        (id,) = self.words.encode(f" {question.id}")
        return Clue(id, self.words.encode(f" {question.value}") if question.value else [])

    def _spell(self, question: str) -> str:
        """Sometimes as people type: without the capital or the question mark."""
        if self.rng.random() < 1 / 10:
            question = question[0].lower() + question[1:]
        if self.rng.random() < 1 / 10:
            question = question.removesuffix("?")
        return question

    def _repeat(self) -> Chat:
        pairs = []
        for _ in range(6):
            said = "".join(self.rng.choices(self.vocabulary, k=self.rng.randint(1, 8))).strip()
            pairs.append((f"Repeat: {said}", said))
        return self._write(self._any_system(), "", pairs)

    def _talk(self, mixture: Mixture) -> Chat:
        pairs = [
            (self._spell(said), reply) for said, reply in self.rng.sample(vocabulary.SMALL_TALK, 4)
        ]
        for _ in range(3):
            letters = "".join(self.rng.choices(LETTERS + "   ", k=self.rng.randint(3, 30)))
            said = "".join(self.rng.choices(self.vocabulary, k=self.rng.randint(2, 8)))
            pairs.append((self.rng.choice((letters.strip(), said.strip())), NO_SUCH_THING))
        case = world.draw_case(self.rng, mixture.recipe)
        before = ""
        if self.rng.random() < 1 / 2:
            before = f"{case.context}\n\n"
        else:
            nothing = [
                dataclasses.replace(question, value=None, skill="unknown id")
                for question in case.questions[:2]
            ]
            pairs += [(each.text, each.answer("sentence")) for each in nothing]
        return self._write(world.SYSTEM_PROMPTS["sentence"], before, pairs)

    def _any_system(self) -> str:
        return self.rng.choice((*world.SYSTEM_PROMPTS.values(), *SENTENCE_PROMPTS))

    def _write(
        self,
        system: str,
        before: str,
        pairs: list[tuple[str, str]],
        clues: Sequence[Clue] = (),
        *,
        one_chat: bool = False,
    ) -> Chat:
        start, end = tokenizer.START, tokenizer.END
        head = f"{start}system\n{system}{end}\n" if system else ""
        encode = self.words.encode
        turns = [
            Turn(encode(f"{question}{end}\n{start}assistant\n"), encode(f"{answer}{end}"), clue)
            for (question, answer), clue in itertools.zip_longest(pairs, clues)
        ]
        beginning = encode(f"{head}{start}user\n{before}")
        if not one_chat:
            return Chat(beginning, [[turn] for turn in turns])
        between = encode(f"\n{start}user\n")
        later = [dataclasses.replace(turn, read=between + turn.read) for turn in turns[1:]]
        return Chat(beginning, [[turns[0], *later]])
