"""What people ask of A/B tests: start, stop, promote.

Each verb decides by the test as it is in its own transaction, so that of two people who ask at once
one wins and the other gets a refusal. Imported by `engine.control.handlers`, through the package.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import msgspec

from engine.control import memory
from engine.control.ab_tests import act, facts
from engine.control.ab_tests.decide import Do, made
from engine.control.decisions import Decision, Reason, Refusal
from engine.control.handlers import handles
from storage import (
    ab_tests,
    availability,
    online_scores,
    prompt_labels,
    prompts,
    releases,
    services,
    splits,
)
from storage.ab_tests import EXPOSED, OPEN, AbTest, Arm, State, Why
from storage.availability import Availability, Can
from storage.control_socket import verbs
from storage.intents import Intent
from storage.keys import Role
from storage.releases import Release
from storage.rollout_guards import Guard, Measure
from storage.services import Service
from storage.splits import WHOLE_BP
from storage.store import Session

GUARDS = (Guard(measure=Measure.ERROR_RATE, allowed_bp=100),)
"""The guards of a test that names none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the decision about a start rests on.

    `prompts` has the name of the prompt of each release, None for one without. `protected`: only
    an admin moves the label that is asked for, and this is none. `unscored` says which guard would
    never count anything.
    """

    service: Service
    arms: tuple[Arm, ...]
    able: Mapping[int, Availability]
    prompts: Mapping[int, str | None]
    protected: bool = False
    unscored: str = ""


@handles("ab_tests.start")
async def start(
    s: Session, intent: Intent, arguments: verbs.ab_tests.Start, at_us: int
) -> Decision:
    """Take the split of a service, and load the arms."""
    service = await services.find(s, intent.target)
    found = {name: await releases.find(s, name) for name in arguments.arms}
    arms = tuple(
        [Arm(release=found[name].number, weight_bp=each) for name, each in arguments.arms.items()]
    )
    named = {each.number: await _prompt(s, each) for each in found.values()}
    wanted = Wanted(
        service=service,
        arms=arms,
        able=await availability.every(s, [arm.release for arm in arms]),
        prompts=named,
        protected=await _protected(s, {*named.values()}, arguments.label, intent),
        unscored=await online_scores.missing(s, service, arguments.guards or ()),
    )
    decision = decide_start(wanted, arguments, intent.expected_version)
    if not isinstance(decision.plan, int):
        return decision
    if refusal := await memory.refuse(s, arms, at_us):
        return refusal
    test = await ab_tests.add(
        s,
        service=service.name,
        control=decision.plan,
        arms=arms,
        goals=arguments.goals,
        guards=GUARDS if arguments.guards is None else arguments.guards,
        least_units=arguments.least_units,
        at_most_s=arguments.at_most_s,
        load_timeout_s=arguments.load_timeout_s,
        promotes=arguments.promotes,
        label=arguments.label,
        salt=secrets.token_hex(8),
        base_split_id=service.split.id,
        sentence=decision.sentence,
        actor=intent.actor,
        at_us=at_us,
        intent_id=intent.id,
    )
    await act.own(s, test, actor=intent.actor, at_us=at_us, intent_id=intent.id)
    said = f"Started A/B test {test.id} of {test.service}: {decision.sentence}"
    return Decision(Reason.APPLIED, said, test)


@handles("ab_tests.stop")
async def stop(s: Session, intent: Intent, arguments: verbs.ab_tests.Of, at_us: int) -> Decision:
    """End a test without a result: the control has all of the traffic again."""
    test = await _named(s, intent, arguments.ab_test)
    if test.state not in OPEN:
        said = f"{_name(test)} has ended already: {test.sentence}"
        return Decision(Reason.UNCHANGED, said, test)
    found = await facts.read(s, test, at_us)
    said = f"{intent.actor} stopped it" + (f": {intent.reason}." if intent.reason else ".")
    do = Do.RETURN if found.owned else Do.LEAVE  # a split that a person set is left alone
    plan = made(do, found, Why.STOPPED, said)
    await act.carry_out(s, plan, at_us, actor=intent.actor, intent_id=intent.id)
    where = f"all traffic of {test.service} is on r{test.control}"
    where = where if found.owned else f"the split of {test.service} is left as it is"
    return Decision(Reason.APPLIED, f"{_name(test)} is stopped; {where}.", test)


@handles("ab_tests.promote")
async def promote(
    s: Session, intent: Intent, arguments: verbs.ab_tests.Promote, at_us: int
) -> Decision:
    """Give one arm all of the traffic: the winner, or the release that is named."""
    test = await _named(s, intent, arguments.ab_test)
    number = test.winner
    if arguments.release is not None:
        number = (await releases.find(s, arguments.release)).number
    found = await facts.read(s, test, at_us)
    decision = decide_promote(found, number, intent.expected_version)
    if not isinstance(decision.plan, int):
        return decision
    label = arguments.label or test.label
    winner = await releases.get(s, decision.plan)
    if label is not None and await _prompt(s, winner) is None:
        said = f"{winner.name} has no prompt for {label} to point at; promote it without a label."
        return Decision(Reason.INVALID, said)
    reason = f": {intent.reason}." if intent.reason else "."
    said = f"{intent.actor} gave {winner.name} all of the traffic of {test.service}{reason}"
    plan = made(
        Do.PROMOTE,
        facts.Facts(
            test=msgspec.structs.replace(test, label=label), service=found.service,
            able=found.able, evidence=found.evidence, units=found.units, looks=found.looks,
            ratio=found.ratio,
        ),
        Why.PROMOTED,
        said,
        winner=winner.number,
    )  # fmt: skip
    await act.carry_out(s, plan, at_us, actor=intent.actor, intent_id=intent.id)
    return Decision(Reason.APPLIED, decision.sentence, test)


def decide_start(
    wanted: Wanted, arguments: verbs.ab_tests.Start, expected_version: int | None
) -> Decision:
    """Whether a test may begin; the plan is the number of its control.

    The store adds the refusals of a frozen service, and of a split that is owned.
    """
    service = wanted.service
    if service.owner is not None:
        raise services.owned(service, service.owner)
    if expected_version not in {None, service.version}:
        said = f"{service.name} changed since you looked; look again."
        return Decision(Reason.MOVED, said)
    control = next((a.release for a in service.split.arms if a.weight_bp == WHOLE_BP), None)
    if control is None:
        arms = splits.words(splits.pairs(service.split.arms))
        said = f"{service.name} is split between releases ({arms}); set it to one of them first"
        return Decision(Reason.INVALID, f"{said} with `paddock services split`.")
    ab_tests.check(control, wanted.arms)
    if wanted.unscored:
        return Decision(Reason.INVALID, wanted.unscored)
    for release, able in wanted.able.items():
        if able.can is Can.NOT:
            return Decision(Reason.UNLOADABLE, f"r{release} cannot answer: {able.reason}.")
    if arguments.label is not None and (refusal := _refuse_label(wanted, arguments.label)):
        return refusal
    arms = splits.words(splits.pairs(wanted.arms))
    goals = "; ".join(goal.words for goal in arguments.goals)
    return Decision(Reason.APPLIED, f"{arms}, control r{control}, by {goals}.", control)


def _refuse_label(wanted: Wanted, label: str) -> Decision | None:
    """Why a label cannot be asked for once a winner is promoted; None if it can."""
    named = {*wanted.prompts.values()}
    if None in named:
        said = f"The arms have no prompt for {label} to point at"
        return Decision(Reason.INVALID, f"{said}; start the test without --label.")
    if len(named) > 1:
        known = ", ".join(sorted(each or "" for each in named))
        said = f"The arms have different prompts ({known}); {label} is a label of one."
        return Decision(Reason.INVALID, f"{said} Start the test without --label.")
    if wanted.protected:
        said = f"{label} is protected: moving it takes the role {Role.ADMIN}."
        return Decision(Reason.PROTECTED, f"{said} Start the test without --label.")
    return None


def decide_promote(
    found: facts.Facts, number: int | None, expected_version: int | None
) -> Decision:
    """Whether an arm gets all of the traffic; the plan is its release."""
    test = found.test
    if expected_version not in {None, test.version}:
        said = f"{_name(test)} changed since you looked: {test.sentence} Look again."
        return Decision(Reason.MOVED, said)
    if test.state is State.PROMOTED:
        said = f"{_name(test)} has promoted r{test.winner} already: {test.sentence}"
        return Decision(Reason.UNCHANGED, said, test)
    arms = [arm.release for arm in test.arms]
    if number not in arms:
        known = ", ".join(f"r{arm}" for arm in arms)
        said = f"{_name(test)} has no winner" if number is None else f"r{number} is no arm of it"
        return Decision(Reason.INVALID, f"{said}; name an arm with --to: {known}.")
    if (refusal := _refuse_promotion(found, number)) is not None:
        return refusal
    before = splits.words(splits.pairs(found.service.split.arms)) if found.service else ""
    return Decision(Reason.APPLIED, f"{test.service}: r{number} 100 % (before: {before}).", number)


def _refuse_promotion(found: facts.Facts, number: int) -> Decision | None:
    """Why an arm cannot get all of the traffic now; None if it can."""
    test, service = found.test, found.service
    if test.state is State.LOADING:
        said = f"{_name(test)} has not begun: {test.sentence} Stop it, and set the split by hand."
        return Decision(Reason.INVALID, said)
    ours = found.owned if test.state in EXPOSED else _unchanged(test, service)
    if service is None or not ours:
        said = f"The split of {test.service} changed after {_name(test)}"
        return Decision(Reason.MOVED, f"{said}; set it with `paddock services split`.")
    if service.frozen is not None:
        return Decision(Reason.FROZEN, f"{service.name} is {service.frozen.words}; unfreeze it.")
    able = found.able[number]
    if able.can is not Can.ANSWER:
        said = f"r{number} cannot answer now: {able.reason}. Lead it in by a rollout instead:"
        said += f" `paddock rollouts start {test.service} --to r{number}`."
        return Decision(Reason.INVALID, said)
    return None


def _unchanged(test: AbTest, service: Service | None) -> bool:
    """Whether the split of a test that has ended is as the end left it."""
    return service is not None and service.owner is None and service.split.id == test.split_id


async def _prompt(s: Session, release: Release) -> str | None:
    if release.prompt_version_id is None:
        return None
    return (await prompts.get(s, release.prompt_version_id)).prompt


async def _protected(
    s: Session, named: AbstractSet[str | None], label: str | None, intent: Intent
) -> bool:
    if label is None or Role(intent.role).may(Role.ADMIN):
        return False
    known = await prompt_labels.of(s, [each for each in named if each is not None])
    return any(each.label == label and each.protected_by is not None for each in known)


async def _named(s: Session, intent: Intent, id: int) -> AbTest:
    """The test that an intent names, which is one of its target."""
    test = await ab_tests.find(s, id)
    if test.service != intent.target:
        said = f"A/B test {id} is one of {test.service}, not of {intent.target}."
        raise Refusal(Reason.UNKNOWN, said)
    return test


def _name(test: AbTest) -> str:
    return f"A/B test {test.id} of {test.service}"
