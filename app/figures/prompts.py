"""What is shown of prompts: rows of the list, facts and text of a version, moves of a label.

Text of templates is made safe by who prints it. Imported by `app.commands.prompts` and the place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from app import words
from app.listing import Column
from storage import prompt_content, prompt_labels, prompt_uses, prompts, splits
from storage.past import prompts as past_prompts
from storage.prompt_labels import LATEST, Label, Move
from storage.prompt_uses import Use
from storage.prompts import PromptVersion, Summary
from storage.store import Session

COMMENT: Final = 40


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A version in the list, with the labels that point at it."""

    version: Summary
    labels: tuple[str, ...]

    @property
    def document(self) -> dict[str, object]:
        """As JSON shows it."""
        return {**msgspec.to_builtins(self.version), "labels": list(self.labels)}


class Full(msgspec.Struct, frozen=True, kw_only=True):
    """A version with all that is known of it; `moves` of the label that it was asked by."""

    version: PromptVersion
    latest: bool
    labels: tuple[Label, ...]
    uses: tuple[Use, ...]
    moves: tuple[Move, ...] = ()

    @property
    def document(self) -> dict[str, object]:
        """As JSON shows it."""
        return {
            **msgspec.to_builtins(self.version),
            "labels": [each.label for each in self.labels],
            "protected": [each.label for each in self.labels if each.protected_by is not None],
            "latest": self.latest,
            "uses": msgspec.to_builtins(self.uses),
            "moves": msgspec.to_builtins(self.moves),
        }


async def read(s: Session, name: str, at_us: int | None = None) -> Full:
    """All that is known of a version, with the moves of the label that it is found by.

    With `at_us` as of that moment, without the protection of labels, which has no history.

    Raises:
        NotFound: there is no such version, or there was none.
    """
    label = "" if "@" in name else name.partition(":")[2] or prompts.PRODUCTION
    if at_us is None:
        version = await prompts.find(s, name)
        newest = (await prompts.find(s, f"{version.prompt}:{LATEST}")).number
        pointing = await prompt_labels.of(s, [version.prompt])
        used = await prompt_uses.of(s, version.prompt, version.number)
        moves = await prompt_labels.history(s, version.prompt, label)
    else:
        version = await past_prompts.find(s, name, at_us)
        newest = (await past_prompts.every(s, at_us, prompt=version.prompt))[0].number
        pointing = await past_prompts.labels(s, at_us, [version.prompt])
        used = await past_prompts.uses(s, version.prompt, version.number, at_us)
        moves = await past_prompts.history(s, version.prompt, label, at_us)
    return Full(
        version=version,
        latest=newest == version.number,
        labels=tuple(each for each in pointing if each.number == version.number),
        uses=tuple(used),
        moves=tuple(moves),
    )


def listed(versions: Sequence[Summary], labels: Sequence[Label]) -> list[Listed]:
    """The rows of a list."""
    pointing: dict[tuple[str, int], list[str]] = {}
    for label in labels:
        pointing.setdefault((label.prompt, label.number), []).append(label.label)
    return [
        Listed(version=each, labels=tuple(pointing.get((each.prompt, each.number), ())))
        for each in versions
    ]


COLUMNS: Final[tuple[Column[Listed], ...]] = (
    Column("PROMPT", lambda row: row.version.name),
    Column("TAG", lambda row: words.known(row.version.tag)),
    Column("LABELS", lambda row: ", ".join(row.labels)),
    Column("AUTHOR", lambda row: row.version.author),
    Column("ADDED", lambda row: words.clock(row.version.created_at_us)),
    Column("COMMENT", lambda row: words.cut(words.safe(row.version.comment), COMMENT)),
)
MOVES: Final[tuple[Column[Move], ...]] = (
    Column("MOVE", lambda move: str(move.id)),
    Column("AT", lambda move: words.clock(move.set_at_us)),
    Column("BY", lambda move: move.set_by),
    Column("VERSION", lambda move: f"{move.prompt}@{move.number}"),
    Column("", lambda move: "" if move.restores is None else f"back at move {move.restores}"),
)


def facts(full: Full) -> list[str]:
    """The facts of a version, a line each."""
    return words.table(told(full))


def told(full: Full) -> list[tuple[str, str]]:
    """The facts of a version as pairs of a name and a value."""
    version = full.version
    return [
        ("name", version.name),
        ("tag", words.known(version.tag)),
        ("labels", words.known(labels(full))),
        ("parent", _parent(version)),
        ("sha256", version.sha256),
        ("added", f"{words.clock(version.created_at_us)} by {version.author}"),
        ("comment", words.known(version.comment)),
        *uses(full.uses),
    ]


def labels(full: Full) -> str:
    """The labels that point at a version: production (protected), latest."""
    said = [
        each.label if each.protected_by is None else f"{each.label} (protected)"
        for each in full.labels
    ]
    return ", ".join([*said, *([LATEST] if full.latest else [])])


def uses(found: Sequence[Use]) -> list[tuple[str, str]]:
    """Where a version is used: a row for each release, `used` at the first."""
    if not found:
        return [("used", "by no release")]
    return [(("used" if n == 0 else ""), _use(use)) for n, use in enumerate(found)]


def _use(use: Use) -> str:
    by = [f"{service} {splits.percent(weight)}" for service, weight in use.serves.items()]
    served = f"serves {', '.join(by)}" if by else "in no service"
    follows = "" if use.follows is None else f", follows {use.follows}"
    return f"r{use.release}, {served}{follows}"


def _parent(version: PromptVersion) -> str:
    return words.UNKNOWN if version.parent is None else f"{version.prompt}@{version.parent}"


def text(version: PromptVersion) -> list[str]:
    """Variables, messages and response schema, as lines."""
    lines = []
    for variable in version.variables:
        needed = "required" if variable.required else f"default {variable.default!r}"
        lines.append(f"variable {variable.name}: {variable.type}, {needed}")
    for message in version.messages:
        lines += ["", f"[{message.role}]", message.template]
    if version.response_schema is not None:
        schema = msgspec.json.format(msgspec.json.encode(version.response_schema), indent=2)
        note = prompt_content.unconstrained(version.response_schema)
        lines += ["", f"[response schema] {note}", schema.decode()]
    return lines


def effect(name: str, before: int | None, after: int, followers: Sequence[Use]) -> str:
    """What moving a label changes: the label's line, then one for each service that follows it."""
    prompt = name.partition(":")[0]
    was = "nothing" if before is None else f"{prompt}@{before}"
    lines = [f"{name}  {was} → {prompt}@{after}"]
    for use in followers:
        if use.follows == name and use.number != after:
            lines += [
                f"{service}  r{use.release}, {splits.percent(weight)} → its next release"
                for service, weight in use.serves.items()
                if weight
            ]
    return "\n".join(lines)
