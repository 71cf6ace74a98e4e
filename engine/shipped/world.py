"""Generates notes about orders, servers and tickets, and questions about them.

`draw_case` generates notes with several questions about them; an `Item` is one of the questions
with its notes and the correct answer. `verdicts` judges replies to items. The output is determined
by the `random.Random` that is passed in. Standard library only. Imported by `engine.shipped` and
the model factory.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from engine.shipped import vocabulary

Style = Literal["sentence", "concise"]
Skill = Literal["stated", "unknown id", "unstated"]
SYSTEM_PROMPTS: dict[Style, str] = {
    "sentence": "You are a helpful assistant.",
    "concise": "You are a helpful assistant. Be concise.",
}
CONCISE_DECLINE = "Unknown."


@dataclass(frozen=True, slots=True)
class Question:
    """One question about some notes. `value` is None if the notes do not have the answer."""

    kind: str
    id: str
    attribute: str
    skill: Skill
    text: str
    value: str | None

    def answer(self, style: Style) -> str:
        """The expected reply in `style`."""
        entity = f"{self.kind} {self.id}"
        if self.value is None:
            if style == "concise":
                return CONCISE_DECLINE
            if self.skill == "unknown id":
                return f"I do not know: the notes say nothing about {entity}."
            return f"I do not know: the notes do not give the {self.attribute} of {entity}."
        if style == "concise":
            return self.value
        fact = vocabulary.KIND_BY_NAME[self.kind].attribute(self.attribute).facts[0]
        return _fill(fact, entity, self.value)


@dataclass(frozen=True, slots=True)
class Case:
    """Notes (`context`) and the questions generated for them."""

    context: str
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """One question for the model, as in `held_out.jsonl`."""

    id: str
    kind: str
    answerable: bool
    system_style: Style
    context: str
    question: str
    answer: str
    skill: Skill
    entity: str
    attribute: str
    value: str | None

    @property
    def text(self) -> str:
        """The user message."""
        return user_text(self.context, self.question)

    def messages(self) -> list[dict[str, str]]:
        """The chat that asks it, as messages of the OpenAI API."""
        return [
            {"role": "system", "content": SYSTEM_PROMPTS[self.system_style]},
            {"role": "user", "content": self.text},
        ]


def user_text(context: str, question: str) -> str:
    """The user message: the notes, an empty line, the question."""
    return f"{context}\n\n{question}"


def item(case: Case, question: Question, style: Style, id: str) -> Item:
    """One question of a case, as an item."""
    return Item(
        id=id,
        kind=question.kind,
        answerable=question.value is not None,
        system_style=style,
        context=case.context,
        question=question.text,
        answer=question.answer(style),
        skill=question.skill,
        entity=question.id,
        attribute=question.attribute,
        value=question.value,
    )


def _fill(template: str, entity: str, value: str = "") -> str:
    capital = entity[0].upper() + entity[1:]
    return template.replace("{E}", capital).replace("{e}", entity).replace("{v}", value)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How cases are generated: the kinds, the skills, and the length of the notes."""

    kinds: tuple[vocabulary.Kind, ...] = vocabulary.KINDS
    skills: tuple[Skill, ...] = ("stated", "unknown id", "unstated")
    weights: tuple[float, ...] = (0.5, 0.2, 0.3)
    entities: tuple[int, ...] = (1, 2, 2, 3, 3, 4)
    facts: tuple[int, ...] = (2, 3, 4, 5)
    questions: int = 6
    remark_chance: float = 0.2
    ids: int = 300  # how many ids of each kind are used, from the first
    alike: float = 0.0  # share of cases with entities of one kind and with the same attributes


def draw_case(rng: random.Random, recipe: Recipe) -> Case:
    """Notes as `recipe` describes, with `recipe.questions` different questions about them."""
    kinds = [rng.choice(recipe.kinds) for _ in range(rng.choice(recipe.entities))]
    shared: dict[str, list[vocabulary.Attribute]] = {}
    if recipe.alike and rng.random() < recipe.alike:
        kinds = kinds[:1] * len(kinds)
        shared = {kinds[0].name: rng.sample(kinds[0].attributes, rng.choice(recipe.facts))}
    ids = _distinct_ids(rng, recipe, kinds)
    stated = {
        (kind.name, id, attribute.name): rng.choice(attribute.values)
        for kind, id in zip(kinds, ids, strict=True)
        for attribute in shared.get(kind.name)
        or rng.sample(kind.attributes, rng.choice(recipe.facts))
    }
    entities = list(zip(kinds, ids, strict=True))
    questions = {
        question.text: question
        for question in (_draw_question(rng, recipe, entities, stated) for _ in range(60))
    }
    chosen = list(questions.values())[: recipe.questions]
    return Case(_write_notes(rng, recipe, stated), tuple(chosen))


def _distinct_ids(
    rng: random.Random, recipe: Recipe, kinds: Sequence[vocabulary.Kind]
) -> list[str]:
    ids: list[str] = []
    for kind in kinds:
        id = rng.choice(kind.ids[: recipe.ids])
        while id in ids:
            id = rng.choice(kind.ids[: recipe.ids])
        ids.append(id)
    return ids


def _write_notes(
    rng: random.Random, recipe: Recipe, stated: dict[tuple[str, str, str], str]
) -> str:
    sentences = [
        _fill(
            rng.choice(vocabulary.KIND_BY_NAME[kind].attribute(attribute).facts),
            f"{kind} {id}",
            value,
        )
        for (kind, id, attribute), value in stated.items()
    ]
    if rng.random() < 1 / 2:
        rng.shuffle(sentences)
    if rng.random() < recipe.remark_chance:
        sentences.insert(rng.randint(0, len(sentences)), rng.choice(vocabulary.REMARKS))
    layout = rng.choice((" ", " ", "\n", "\n- "))
    return ("- " if layout == "\n- " else "") + layout.join(sentences)


def _draw_question(
    rng: random.Random,
    recipe: Recipe,
    entities: list[tuple[vocabulary.Kind, str]],
    stated: dict[tuple[str, str, str], str],
) -> Question:
    (skill,) = rng.choices(recipe.skills, recipe.weights)
    kind, id = rng.choice(entities)
    if skill == "unknown id":
        kind = rng.choice(recipe.kinds)
        known = {one for _, one in entities}
        id = rng.choice([other for other in kind.ids[: recipe.ids] if other not in known])
        attribute = rng.choice(kind.attributes)
    else:
        given = [each for each in kind.attributes if (kind.name, id, each.name) in stated]
        unknown = [each for each in kind.attributes if each not in given]
        attribute = rng.choice(given if skill == "stated" else unknown)
    return Question(
        kind=kind.name,
        id=id,
        attribute=attribute.name,
        skill=skill,
        text=_fill(rng.choice(attribute.questions), f"{kind.name} {id}"),
        value=stated.get((kind.name, id, attribute.name)),
    )
