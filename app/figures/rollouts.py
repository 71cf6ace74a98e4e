"""Rollouts as the screen shows them: where each is, what it waits for, what may be done with it.

What a promotion or an undo would do is worded here; control decides all of it again. Imported by
`app.reader` and `app.figures.places`.
"""

from __future__ import annotations

from typing import Final

from app import rollout_tree, rollout_view, snapshot
from app.figures.facts import Facts
from storage import rollout_steps, rollouts
from storage.rollouts import OPEN, Rollout, State
from storage.splits import WHOLE_BP
from storage.store import Session

_ENDED: Final = {
    State.ABORTED: "the traffic is back on {stable} already",
    State.UNDONE: "it was undone: the traffic is back on {stable} already",
}


def newest(facts: Facts) -> tuple[snapshot.RolloutRow, ...]:
    """The newest rollout of each service that has had one."""
    return tuple(row(facts, each) for each in facts.rollouts)


async def rows(s: Session, facts: Facts, *, limit: int) -> tuple[snapshot.RolloutRow, ...]:
    """The newest rollouts, newest first; those under way with what they wait for."""
    found = []
    for each in await rollouts.tail(s, limit):
        view = await rollout_view.read(s, each, facts.now_us) if each.state in OPEN else None
        found.append(row(facts, each, view))
    return tuple(found)


async def full(s: Session, id: int, facts: Facts) -> snapshot.Rollout:
    """One rollout with its tree and its moves, newest first.

    Raises:
        NotFound: there is no such rollout.
    """
    return _full(facts, await rollout_view.read(s, await rollouts.find(s, id), facts.now_us))


async def full_at(s: Session, id: int, facts: Facts) -> snapshot.Rollout:
    """One rollout as it was at the moment of the facts.

    Raises:
        NotFound: it had not been started.
    """
    return _full(facts, await rollout_view.read_at(s, id, facts.services, facts.now_us))


def _full(facts: Facts, view: rollout_view.View) -> snapshot.Rollout:
    return snapshot.Rollout(
        row=row(facts, view.rollout, view),
        tree=tuple(rollout_tree.lines(view)),
        moves=tuple(
            snapshot.RolloutMove(
                at_us=each.at_us, who=each.actor, state=each.after.value, sentence=each.sentence
            )
            for each in reversed(view.events)
        ),
    )


def row(
    facts: Facts, rollout: Rollout, view: rollout_view.View | None = None
) -> snapshot.RolloutRow:
    """One rollout; `view` is given for what it waits for."""
    undo, no_undo = _undo(facts, rollout)
    under_way = rollout.state in OPEN
    return snapshot.RolloutRow(
        id=rollout.id,
        revision=rollout.revision,
        service=rollout.service,
        strategy=rollout.strategy.value.replace("_", "-"),
        stable="" if rollout.stable is None else f"r{rollout.stable}",
        candidate=f"r{rollout.candidate}",
        state=rollout.state.value,
        phase=rollout.phase.value,
        under_way=under_way,
        newest=any(each.id == rollout.id for each in facts.rollouts),
        step=None if rollout.step is None else rollout.step + 1,
        steps=len(rollout.steps),
        doing="" if rollout.current is None else rollout_steps.words(rollout.current),
        weight_bp=rollout.weight_bp if under_way else None,
        started_by=rollout.started_by,
        moved_at_us=rollout.moved_at_us,
        version=rollout.version,
        sentence=rollout.sentence if view is None else view.waiting.sentence,
        until_us=None if view is None else view.waiting.until_us,
        following=_following(rollout),
        undo=undo,
        no_undo=no_undo,
    )


def _following(rollout: Rollout) -> str:
    """Where a promotion leads; empty where there is none yet."""
    if rollout.resumes is not None:
        return "it continues from where it was paused"
    if rollout.step is None or rollout.state not in OPEN:
        return ""
    if rollout.step + 1 == len(rollout.steps):
        return f"r{rollout.candidate} becomes the stable release of {rollout.service}"
    step = rollout.steps[rollout.step + 1]
    number = f"step {rollout.step + 2} of {len(rollout.steps)}"
    return f"{number}: {rollout_steps.words(step)}"


def _undo(facts: Facts, rollout: Rollout) -> tuple[str, str]:
    """What an undo would do, or else why there is nothing to undo."""
    stable = f"r{rollout.stable}"
    if rollout.state in OPEN:
        return f"all traffic back to {stable}; the rollout ends", ""
    if rollout.state is not State.COMPLETED:
        return "", _ENDED[rollout.state].format(stable=stable)
    if rollout.stable is None:
        return "", f"r{rollout.candidate} is the first release of {rollout.service}"
    service = next((each for each in facts.services if each.name == rollout.service), None)
    whole = service is not None and any(
        arm.release == rollout.candidate and arm.weight_bp == WHOLE_BP for arm in service.split.arms
    )
    if service is None or service.owner is not None or not whole:
        return "", f"the split of {rollout.service} has changed since"
    effect = f"all traffic back to {stable}"
    if why := facts.unready.get(rollout.stable):
        effect += f" ▲ {stable} does not answer now: {why}. A rollout loads it and switches then."
    return effect, ""
