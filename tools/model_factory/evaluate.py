"""Evaluates the shipped model on its held-out questions, through llama.cpp.

`python -m tools.model_factory.evaluate [DIR]` measures the files in DIR (default: the shipped
ones), which checks the model card without torch; `--card` rewrites the card. Imports llama_cpp
itself, as only `engine.serving.llama` does otherwise: the figures must not depend on the engine
under test. Imported by `train`.
"""

import argparse
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import llama_cpp

from engine.shipped import held_out, verdicts, world
from tools.model_factory import card

HERE = Path(held_out.__file__).parent
VERSIONS: Mapping[str, str | None] = {"1.0.0": None, "1.1.0": card.ADAPTER}
CONTEXT, MAX_TOKENS = 1024, 48
SKILLS: tuple[world.Skill, ...] = ("stated", "unknown id", "unstated")


@dataclass(frozen=True, slots=True)
class Measured:
    """The verdicts on one version by (kind, skill), and its speed on one thread."""

    version: str
    temperature: float
    counted: Mapping[tuple[str, str], Counter[verdicts.Verdict]]
    styled: int  # replies in the style of the system prompt
    prompt_tokens: int
    answer_tokens: int
    seconds: float

    @property
    def asked(self) -> int:
        """The number of items."""
        return sum(each.total() for each in self.counted.values())

    def share(
        self, verdict: verdicts.Verdict, kinds: Iterable[str], skills: Iterable[str] = SKILLS
    ) -> float:
        """The share of `verdict` among the items of these kinds and skills, 0 to 1."""
        chosen = set(skills)
        counters = [
            self.counted[kind, skill] for kind in kinds for skill in SKILLS if skill in chosen
        ]
        return sum(each[verdict] for each in counters) / sum(each.total() for each in counters)


def measure(
    folder: Path, version: str, items: Sequence[world.Item], temperature: float = 0.0
) -> Measured:
    """Ask every item once, on one thread, with the chat template of the GGUF."""
    adapter = VERSIONS[version]
    model = llama_cpp.Llama(
        str(folder / card.BASE),
        lora_path=str(folder / adapter) if adapter else None,
        n_ctx=CONTEXT,
        n_threads=1,
        n_threads_batch=1,
        seed=1,
        verbose=False,
    )
    counted: dict[tuple[str, str], Counter[verdicts.Verdict]] = {}
    styled = prompt_tokens = answer_tokens = 0
    began = time.perf_counter()
    for item in items:
        reply = model.create_chat_completion(
            item.messages(), temperature=temperature, max_tokens=MAX_TOKENS
        )
        answer = str(reply["choices"][0]["message"]["content"])
        counted.setdefault((item.kind, item.skill), Counter())[verdicts.judge(item, answer)] += 1
        styled += in_style(item, answer)
        prompt_tokens += reply["usage"]["prompt_tokens"]
        answer_tokens += reply["usage"]["completion_tokens"]
    seconds = time.perf_counter() - began
    model.close()
    return Measured(version, temperature, counted, styled, prompt_tokens, answer_tokens, seconds)


def in_style(item: world.Item, answer: str) -> bool:
    """Whether a reply has the length of its style: a sentence has four words or more."""
    return (len(answer.split()) > 3) == (item.system_style == "sentence")  # noqa: PLR2004


def table(measured: Sequence[Measured]) -> str:
    """The figures as a Markdown table: the correct answers by kind and skill, then the errors."""
    heads = [
        each.version + (f" at T={each.temperature:g}" if each.temperature else "")
        for each in measured
    ]
    lines = [
        f"| share of held-out items | n | {' | '.join(heads)} |",
        f"| --- | ---: |{' ---: |' * len(heads)}",
    ]

    def row(
        words: str, verdict: verdicts.Verdict, kinds: Sequence[str], skills: Sequence[str]
    ) -> None:
        number = sum(measured[0].counted[kind, skill].total() for kind in kinds for skill in skills)
        cells = [f"{100 * each.share(verdict, kinds, skills):.1f} %" for each in measured]
        lines.append(f"| {words} | {number} | {' | '.join(cells)} |")

    kinds = ("order", "server", "ticket")
    for kind in kinds:
        for skill in SKILLS:
            row(f"{kind}s, {skill}: correct", verdicts.Verdict.CORRECT, (kind,), (skill,))
    known, refusals = kinds[:2], SKILLS[1:]
    row("all: correct", verdicts.Verdict.CORRECT, kinds, SKILLS)
    row("orders and servers, stated: correct", verdicts.Verdict.CORRECT, known, SKILLS[:1])
    row("unanswerable: hallucinated", verdicts.Verdict.HALLUCINATED, kinds, refusals)
    row("- unknown id, orders and servers", verdicts.Verdict.HALLUCINATED, known, SKILLS[1:2])
    row("- unknown id, tickets", verdicts.Verdict.HALLUCINATED, kinds[2:], SKILLS[1:2])
    row("- unstated, orders and servers", verdicts.Verdict.HALLUCINATED, known, SKILLS[2:])
    row("- unstated, tickets", verdicts.Verdict.HALLUCINATED, kinds[2:], SKILLS[2:])
    row("answerable: wrong value", verdicts.Verdict.WRONG, kinds, SKILLS[:1])
    row("answerable: declined", verdicts.Verdict.DECLINED, kinds, SKILLS[:1])
    styles = [f"{100 * each.styled / each.asked:.1f} %" for each in measured]
    lines.append(
        f"| style of the system prompt kept | {measured[0].asked} | {' | '.join(styles)} |"
    )
    return "\n".join(lines)


def measure_all(folder: Path) -> list[Measured]:
    """Both versions on the held-out items, greedy and at temperature 0.8."""
    items = held_out.read()
    return [
        measure(folder, version, items, temperature)
        for temperature in (0.0, 0.8)
        for version in VERSIONS
    ]


def speed(measured: Iterable[Measured]) -> str:
    """A line for each version and temperature: tokens and seconds."""
    return "\n".join(
        f"- {each.version} at T={each.temperature:g}: {each.prompt_tokens:,} prompt and "
        f"{each.answer_tokens:,} answer tokens in {each.seconds:.1f} s"
        for each in measured
    )


def write_card(folder: Path) -> None:
    """Measure the files in `folder`, print the table and write their card."""
    measured = measure_all(folder)
    print(table(measured), speed(measured), sep="\n\n")
    card.write(folder, table(measured), speed(measured))


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.model_factory.evaluate", description=__doc__
    )
    parser.add_argument("folder", type=Path, nargs="?", default=HERE)
    parser.add_argument("--card", action="store_true", help="also write the model card")
    arguments = parser.parse_args()
    if arguments.card:
        write_card(arguments.folder)
        return
    measured = measure_all(arguments.folder)
    print(table(measured), speed(measured), sep="\n\n")


if __name__ == "__main__":
    main()
