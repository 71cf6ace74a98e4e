"""The held-out questions of the shipped model, and how they were generated.

`read` reads `held_out.jsonl` in this folder; `python -m engine.shipped.held_out` generates the same
file, byte for byte. Training excludes the notes of these items and of those of `development`.
Standard library only. Imported by the synthetic load and the model factory.
"""

import dataclasses
import json
import random
from collections.abc import Iterable
from pathlib import Path

from engine.shipped import verdicts, vocabulary, world

Question = world.Item
PATH = Path(__file__).with_name("held_out.jsonl")
HELD_OUT_SEED, DEVELOPMENT_SEED = 2026, 1126
PER_KIND: dict[world.Skill, int] = {"stated": 110, "unknown id": 40, "unstated": 50}
STYLES: tuple[world.Style, ...] = ("sentence", "concise")


def read(path: Path = PATH) -> tuple[world.Item, ...]:
    """All held-out items, 200 for each kind, as frozen records."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return tuple(world.Item(**json.loads(line)) for line in lines)


def judge(question: Question, answer: str) -> bool:
    """Whether `answer` is correct: the value, or a refusal if the notes do not have it."""
    return verdicts.judge(question, answer) is verdicts.Verdict.CORRECT


def development() -> tuple[world.Item, ...]:
    """As many different items, for choosing between checkpoints."""
    return draw("dev", DEVELOPMENT_SEED, avoid={item.context for item in read()})


def draw(prefix: str, seed: int, *, avoid: Iterable[str] = ()) -> tuple[world.Item, ...]:
    """`PER_KIND` items of every kind, each with different notes, none of which are in `avoid`.

    Questions about orders and servers come with notes on orders and servers; those about tickets
    with notes on all three.
    """
    rng = random.Random(seed)
    used = set(avoid)
    items: list[world.Item] = []
    for kind in vocabulary.KINDS:
        kinds = vocabulary.KINDS if kind is vocabulary.TICKET else vocabulary.KINDS[:2]
        recipe = world.Recipe(kinds=kinds)
        for skill, count in PER_KIND.items():
            for number in range(count):
                case, question = _find(rng, recipe, kind, skill, used)
                used.add(case.context)
                style = STYLES[number % len(STYLES)]
                items.append(world.item(case, question, style, f"{prefix}-{len(items):03}"))
    return tuple(items)


def _find(
    rng: random.Random,
    recipe: world.Recipe,
    kind: vocabulary.Kind,
    skill: world.Skill,
    used: set[str],
) -> tuple[world.Case, world.Question]:
    while True:
        case = world.draw_case(rng, recipe)
        if case.context in used:
            continue
        for question in case.questions:
            if question.kind == kind.name and question.skill == skill:
                return case, question


def write(path: Path = PATH) -> None:
    """Generate the held-out items and write one JSON object per line."""
    lines = [json.dumps(dataclasses.asdict(item)) for item in draw("held", HELD_OUT_SEED)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
