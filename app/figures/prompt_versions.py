"""Prompt versions as the screen shows them: the list, and one with its labels, uses and text.

What moving a label or moving it back would do is worded here, for control decides all of it again.
Imported by `app.reader`.
"""

from __future__ import annotations

from collections.abc import Sequence

from app import snapshot, word_diff
from app.figures import prompts as figures
from storage import prompt_content, prompt_labels, prompt_uses, prompts, quarantine, splits
from storage.past import prompts as past_prompts
from storage.past import quarantine as past_quarantine
from storage.prompt_labels import Label
from storage.prompt_uses import Use
from storage.prompts import PromptVersion
from storage.store import Session

_TOLD = ("labels", "parent", "added", "comment", "used", "")
"""The facts of a version that the screen has rows for."""


async def rows(
    s: Session, *, limit: int, text_filter: str, chosen: str, against: str
) -> snapshot.Prompts:
    """The versions by prompt, newest first within each, and the one under the cursor in full."""
    found = await prompts.page(s, text=text_filter, limit=limit + 1)
    kept = figures.listed(found, await prompt_labels.of(s, {each.prompt for each in found}))
    known = {each.version.name for each in kept}
    return snapshot.Prompts(
        rows=tuple(map(_row, kept[:limit])),
        filter=text_filter,
        more=len(kept) > limit,
        chosen=await full(s, chosen, against) if chosen in known else None,
    )


async def rows_at(
    s: Session, at_us: int, *, limit: int, text_filter: str, chosen: str = "", against: str = ""
) -> snapshot.Prompts:
    """The versions and labels of a past moment, and the one under the cursor in full."""
    found = await past_prompts.every(s, at_us)
    labels = await past_prompts.labels(s, at_us, {each.prompt for each in found})
    listed = [_row(each) for each in figures.listed(found, labels)]
    kept = [
        each
        for each in listed
        if text_filter in " ".join((each.name, each.tag, each.author, each.comment, *each.labels))
    ]
    return snapshot.Prompts(
        rows=tuple(kept[:limit]),
        filter=text_filter,
        more=len(kept) > limit,
        chosen=(
            await full_at(s, chosen, against, at_us)
            if chosen in {each.name for each in kept}
            else None
        ),
    )


async def full_at(s: Session, name: str, against: str, at_us: int) -> snapshot.Prompt:
    """One version with its labels and uses of a past moment; what moving one does is left out.

    Raises:
        NotFound: there is no such version, or it had not been added.
    """
    known = await figures.read(s, name, at_us)
    version = known.version
    labels = await past_prompts.labels(s, at_us, [version.prompt])
    other = await _other(s, version, labels, against)
    killing = [
        each.reason
        for each in await past_quarantine.every(s, at_us)
        if (each.kind, each.subject) == (quarantine.Kind.PROMPT, version.name)
    ]
    return _shown(known, other, killing)


async def full(s: Session, name: str, against: str) -> snapshot.Prompt:
    """One version, compared with another: with `against` if it is given.

    Raises:
        NotFound: there is no such version.
    """
    version = await prompts.find(s, name)
    labels = await prompt_labels.of(s, [version.prompt])
    uses = await prompt_uses.of(s, version.prompt)
    other = await _other(s, version, labels, against)
    known = figures.Full(
        version=version,
        latest=(await prompts.find(s, f"{version.prompt}:{prompts.LATEST}")) == version,
        labels=tuple(each for each in labels if each.number == version.number),
        uses=tuple(each for each in uses if each.number == version.number),
    )
    killing = [each.reason for each in await quarantine.of(s, quarantine.Kind.PROMPT, version.name)]
    return _shown(known, other, killing, [await _label(s, version, each, uses) for each in labels])


def _shown(
    known: figures.Full,
    other: PromptVersion | None,
    killing: Sequence[str],
    labels: Sequence[snapshot.PromptLabel] = (),
) -> snapshot.Prompt:
    """A version beside the one that it is compared with; `killing` is why it is quarantined."""
    version = known.version
    return snapshot.Prompt(
        name=version.name,
        prompt=version.prompt,
        number=version.number,
        facts=tuple(pair for pair in figures.told(known) if pair[0] in _TOLD),
        quarantined=tuple(killing),
        labels=tuple(labels),
        against="" if other is None else other.name,
        differences=() if other is None else _differences(other, version),
        text=tuple(row for line in figures.text(version) for row in line.split("\n")),
    )


def _row(row: figures.Listed) -> snapshot.PromptRow:
    version = row.version
    return snapshot.PromptRow(
        name=version.name,
        labels=row.labels,
        tag=version.tag or "",
        author=version.author,
        at_us=version.created_at_us,
        comment=version.comment,
    )


async def _other(
    s: Session, version: PromptVersion, labels: Sequence[Label], against: str
) -> PromptVersion | None:
    """The version to compare with: the one named, else production's, else the parent."""
    live = next((each.number for each in labels if each.label == prompts.PRODUCTION), None)
    for name in (against, live and f"{version.prompt}@{live}",
                 version.parent and f"{version.prompt}@{version.parent}"):  # fmt: skip
        if name and name != version.name:
            return await prompts.find(s, name)
    return None


async def _label(
    s: Session, version: PromptVersion, label: Label, uses: Sequence[Use]
) -> snapshot.PromptLabel:
    at = await prompts.find(s, f"{label.prompt}@{label.number}")
    needed = prompt_content.newly_required(at.variables, version.variables)
    history = await prompt_labels.history(s, label.prompt, label.label, limit=2)
    to, back = splits.roll_back_target(history), ""
    if to is not None and splits.origin(history[0]) != to:
        before = (await prompt_labels.find_move(s, label.prompt, label.label, to)).number
        back = _one_row(figures.effect(label.name, label.number, before, uses))
    return snapshot.PromptLabel(
        label=label.label,
        number=label.number,
        protected=label.protected_by is not None,
        effect=_one_row(figures.effect(label.name, label.number, version.number, uses)),
        caution=prompt_content.caution(needed),
        undo_to=to if back else None,
        undo_effect=back,
        no_undo="" if back else f"{label.name} was set only once" if to is None
        else f"{label.name} is back at {at.name} already",
    )  # fmt: skip


def _one_row(effect: str) -> str:
    return "; ".join(line.replace("  ", " ") for line in effect.split("\n"))


def _differences(before: PromptVersion, after: PromptVersion) -> tuple[snapshot.Difference, ...]:
    return tuple(
        snapshot.Difference(
            title=section.title,
            rows=tuple(
                tuple((piece.change.value, word_diff.marked([piece])) for piece in row)
                for row in word_diff.lines(section)
            ),
        )
        for section in word_diff.versions(before, after)
    )
