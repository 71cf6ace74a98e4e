"""The report of a bisection: the release that changed an answer, and how it differs.

Reads releases, never asks them. Imported by `engine.jobs.replay` and `engine.jobs.replay_asking`.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.jobs import bisection, replay_report
from engine.judging import texts
from storage import release_differences, releases
from storage.deployments import Backend
from storage.replay_items import Answer, Item
from storage.replays import Replay, Report
from storage.store import Session


def goods(replay: Replay, items: Sequence[Item]) -> dict[int, bool]:
    """Whether each release that was asked gave the good answer; a failure is not one."""
    known = {item.release: item.after for item in items if item.after is not None}
    first = known.get(replay.releases[0])

    def good(answer: Answer) -> bool:
        if not answer.ok:
            return False
        if replay.expected is not None:
            return replay.expected in answer.text
        return first is not None and texts.same(first.text, answer.text)

    return {release: good(answer) for release, answer in known.items()}


async def report(
    s: Session, replay: Replay, items: Sequence[Item], skipped: Sequence[str]
) -> Report:
    """The report of a complete bisection; `skipped` names the releases that were not asked."""
    step = bisection.decide(replay.releases, goods(replay, items))
    asked = len([item for item in items if item.after is not None])
    oldest, newest = (f"r{replay.releases[end]}" for end in (0, -1))
    notes = [f"Not asked: {each}" for each in skipped]
    answers = {item.release: item.after for item in items}
    known = [await releases.get(s, number) for number in answers]
    if any(release.backend is not Backend.LOCAL for release in known):
        notes.append(replay_report.NOT_REPRODUCIBLE)
    if isinstance(step, bisection.Unchanged):
        if step.good:
            said = f"{newest} gives the same answer as {oldest}; nothing changed it."
            if replay.expected is not None:
                said = f"{newest} gives the expected answer, as {oldest} does."
        else:
            first = answers[replay.releases[0]]
            why = "does not give the expected answer"
            if first is not None and not first.ok:
                why = f"did not answer ({first.why or first.error})"
            said = f"{oldest}, the oldest release, {why}: there is no good answer to begin at."
        return Report(sentence=said, asked=asked, notes=tuple(notes))
    assert isinstance(step, bisection.Found)  # noqa: S101 the step before asked to the end
    good, culprit = [await releases.get(s, number) for number in (step.good, step.culprit)]
    differ = release_differences.between(
        await releases.content(s, good), await releases.content(s, culprit)
    )
    after = answers[step.culprit]
    how = "gives the other answer"
    if after is not None and not after.ok:
        how = f"does not answer ({after.why or after.error})"
    names = ", ".join(each.field for each in differ if not each.field.endswith(".sha256"))
    return Report(
        sentence=f"{culprit.name} is the first release that {how}; {good.name} before it does not. "
        f"They differ in {names or 'nothing that answers depend on'}.",
        asked=asked,
        notes=tuple(notes),
        good=good.number,
        culprit=culprit.number,
        differences=tuple((each.field, _word(each.before), _word(each.after)) for each in differ),
    )


def _word(value: object) -> str | None:
    return None if value is None else str(value)
