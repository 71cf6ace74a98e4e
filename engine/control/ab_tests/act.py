"""The acts of an A/B test, each in the one transaction of its caller: split, move, event, looks.

A crash leaves all of an act or none of it. Decides nothing; control's loop and the verbs of people
act alike. Imported by `engine.control.ab_tests`.
"""

from __future__ import annotations

from typing import Any, Final

from engine.control.ab_tests.decide import Do, Plan
from storage import (
    ab_test_evidence,
    ab_test_looks,
    ab_test_units,
    ab_tests,
    intents,
    prompts,
    releases,
    services,
)
from storage.ab_tests import AbTest, State
from storage.services import Arm, Owner, Split
from storage.splits import WHOLE_BP
from storage.store import Session

CONTROL: Final = "control"


async def carry_out(
    s: Session, plan: Plan, at_us: int, *, actor: str = CONTROL, intent_id: int | None = None
) -> None:
    """Do what was decided, on behalf of control or of the person who asked.

    Raises:
        Moved: the test is not as it was seen. Frozen, NotOwner: the split cannot be set.
    """
    test = plan.test
    if plan.evidence is not ab_test_evidence.NONE:
        await ab_test_units.record(s, test.id, plan.units, plan.evidence)
        await ab_test_looks.record(s, test.id, plan.looks)
    act = _Act(s, plan, at_us, actor, intent_id)
    match plan.do:
        case Do.EXPOSE:
            await act.expose()
        case Do.MARK:
            await act.move(State.UNHEALTHY)
        case Do.RECORD:
            pass
        case Do.RETURN:
            split = await act.back()
            await act.move(State.ENDED, split_id=split.id, winner=plan.winner)
        case Do.CROWN:
            await act.crown()
        case Do.PROMOTE:
            await act.promote()
        case Do.LEAVE:
            await give_back(s, test, actor, at_us, intent_id)
            await act.move(State.ENDED)


async def own(s: Session, test: AbTest, *, actor: str, at_us: int, intent_id: int | None) -> None:
    """Take the split, with the treatments in it at weight 0, which has the node load them.

    Raises:
        Frozen, NotOwner: the split cannot be taken.
    """
    await services.take(
        s, service=test.service, owner=test.owner, actor=actor, at_us=at_us, intent_id=intent_id
    )
    arms = [
        Arm(release=arm.release, weight_bp=WHOLE_BP if arm.release == test.control else 0)
        for arm in test.arms
    ]
    split = await services.set_split(
        s, service=test.service, arms=arms, expected_version=None, actor=actor, at_us=at_us,
        intent_id=intent_id, by=test.owner,
    )  # fmt: skip
    await ab_tests.change(s, test.id, split_id=split.id)


async def give_back(
    s: Session, test: AbTest, actor: str, at_us: int, intent_id: int | None
) -> None:
    """Let people set the split again; nothing changes where the service is gone or not owned."""
    if await services.every(s, [test.service]):
        await services.give_back(
            s, service=test.service, owner=test.owner, actor=actor, at_us=at_us,
            intent_id=intent_id,
        )  # fmt: skip


async def ask_label(s: Session, test: AbTest, release: int, intent_id: int, at_us: int) -> None:
    """Ask for the label of a test at the prompt of a release, for the person behind an intent.

    It is asked as any move of a label is, so that protection and what follows it are heeded; the
    intent is stored in the transaction that promotes.
    """
    found = await releases.get(s, release)
    if test.label is None or found.prompt_version_id is None:
        return
    version = await prompts.get(s, found.prompt_version_id)
    asked = await intents.find(s, intent_id)
    await intents.accept(
        s, actor=asked.actor, role=asked.role, verb="prompts.label", target=version.prompt,
        arguments={"label": test.label, "number": version.number}, at_us=at_us,
        expected_version=None, reason=f"A/B test {test.id} of {test.service} promoted r{release}",
    )  # fmt: skip


class _Act:
    """One act: the plan, when, and who carries it out."""

    def __init__(
        self, s: Session, plan: Plan, at_us: int, actor: str, intent_id: int | None
    ) -> None:
        self._s = s
        self._plan = plan
        self._test = plan.test
        self._at_us = at_us
        self._actor = actor
        self._intent_id = intent_id

    async def move(self, to: State, **changes: Any) -> None:
        """Move the test for the plan's reason."""
        await ab_tests.move(
            self._s, self._test, to, self._plan.why, self._plan.sentence, actor=self._actor,
            at_us=self._at_us, intent_id=self._intent_id, **changes,
        )  # fmt: skip

    async def expose(self) -> None:
        """Set the split of the test under its salt, and count from here on."""
        test = self._test
        split = await self._set(test.arms, by=test.owner, salt=test.salt)
        request, rating = await ab_test_units.newest(self._s)
        evidence = ab_test_evidence.begin(
            [arm.release for arm in test.arms], len(test.goals), len(test.guards),
            request=request, rating=rating,
        )  # fmt: skip
        await self.move(
            State.RUNNING, split_id=split.id, exposed_at_us=self._at_us,
            evidence=ab_test_evidence.encode(evidence),
        )  # fmt: skip

    async def back(self) -> Split:
        """The split before the test, with the users it had, free for people to set."""
        return await services.go_back(
            self._s, service=self._test.service, to=self._test.base_split_id or 0,
            actor=self._actor, at_us=self._at_us, intent_id=self._intent_id,
        )  # fmt: skip

    async def crown(self) -> None:
        """The traffic back on the control, with the winner kept loaded beside it."""
        split = await self.back()
        winner = self._plan.winner
        if winner is not None and winner not in {arm.release for arm in split.arms}:
            split = await self._set((*split.arms, Arm(release=winner, weight_bp=0)))
        await self.move(State.ENDED, split_id=split.id, winner=winner)

    async def promote(self) -> None:
        """All of the traffic to the winner; the control stays loaded for the way back."""
        test, winner = self._test, self._plan.winner or 0
        rest = [] if winner == test.control else [Arm(release=test.control, weight_bp=0)]
        owner = test.owner if test.state in ab_tests.OPEN else None
        split = await self._set([Arm(release=winner, weight_bp=WHOLE_BP), *rest], by=owner)
        await give_back(self._s, test, self._actor, self._at_us, self._intent_id)
        asked = self._intent_id or test.intent_id
        if asked is not None:
            await ask_label(self._s, test, winner, asked, self._at_us)
        await self.move(State.PROMOTED, split_id=split.id, winner=winner)

    async def _set(self, arms: Any, *, by: Owner | None = None, salt: str | None = None) -> Split:
        return await services.set_split(
            self._s, service=self._test.service, arms=list(arms), expected_version=None,
            actor=self._actor, at_us=self._at_us, intent_id=self._intent_id, by=by, salt=salt,
        )  # fmt: skip
