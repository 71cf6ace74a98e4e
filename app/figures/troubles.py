"""What is known to be wrong, the worst first: the one list of the header and of `paddock status`.

Pure: the node and the gateway were asked, the store was read. Each trouble is a few words and a
sentence. Imported by `app.figures.places`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from app import words
from app.figures import deployments, load, machine
from app.figures.facts import SECOND_US, Facts
from app.liveness import Readiness
from app.snapshot import Node, Trouble
from storage import measures, processes, tallies
from storage.processes import State

WAIT_US: Final = 10 * SECOND_US  # a request that waits this long for its first token is too late
HELD_US: Final = 2 * SECOND_US  # in the gateway, while nothing can take it
ERRORS_S: Final = 30  # the window in which failures are counted
ERRORS: Final = 0.05  # an error rate that is certainly higher is trouble
FAILED: Final = 3  # fewer failures prove nothing
FULL: Final = 0.95  # of the disk, or of the memory
AGAIN_US: Final = 60 * SECOND_US  # an instance that was restarted within this time has just died

_THERMAL: Final = ("thermal", "hardware", "heat")


def troubles(facts: Facts) -> tuple[Trouble, ...]:
    """All that is wrong, the worst first."""
    return tuple(
        trouble
        for part in (_node, _store, _gateway, _services, _processes, _deployments, _arms, _queue,
                     _files, _machine, _config, _restarted)
        for trouble in part(facts)
    )  # fmt: skip


def _readiness(facts: Facts) -> Readiness:
    return Readiness() if facts.answers is None else facts.answers.gateway


def _node(facts: Facts) -> Iterator[Trouble]:
    if facts.node is Node.DOWN:
        yield Trouble(brief="NODE DOWN", sentence="The node is down; `paddock serve` starts it.")
    if facts.node is Node.SILENT:
        said = "The node runs and does not answer; nothing is supervised and nothing can be changed"
        yield Trouble(brief="NODE SILENT", sentence=f"{said}.")


def _store(facts: Facts) -> Iterator[Trouble]:
    if facts.answers is None:
        return
    why = facts.answers.unwritten or facts.answers.gateway.unwritten
    if why:
        yield Trouble(brief="store not written", sentence=f"Nothing can be stored: {why}")


def _gateway(facts: Facts) -> Iterator[Trouble]:
    if why := _readiness(facts).silence:
        known = next((each for each in facts.processes if each.name == "gateway"), None)
        if known is not None and known.state is not State.READY:
            why = _why(f"it {_now(known)}", known)
        yield Trouble(
            brief="gateway silent",
            sentence=f"The gateway does not answer clients: {why}.",
            unanswered=True,
        )


def _services(facts: Facts) -> Iterator[Trouble]:
    """Services without an arm that can answer; then arms of others that cannot."""
    unable = _readiness(facts).unable
    partly = []
    for service in facts.services:
        reasons = {each.release: each.reason for each in unable if each.service == service.name}
        live = {f"r{arm.release}" for arm in service.split.arms if arm.weight_bp}
        if live and live <= reasons.keys():
            why = "; ".join(dict.fromkeys(reasons[arm] for arm in sorted(live)))
            yield Trouble(
                brief=f"{service.name} cannot answer",
                sentence=f"{service.name} cannot answer: {why}.",
                unanswered=True,
            )
        else:
            partly += [(service.name, arm, reasons[arm]) for arm in sorted(live & reasons.keys())]
    for name, arm, reason in partly:
        yield Trouble(
            brief=f"{name}/{arm} cannot answer",
            sentence=f"{arm} of {name} cannot answer: {reason}.",
        )


def _processes(facts: Facts) -> Iterator[Trouble]:
    """Processes that are silent, then those that are dead; a silent gateway is reported already."""
    if not facts.node.runs:
        return
    reported = bool(_readiness(facts).silence)
    known = [each for each in facts.processes if not (reported and each.name == "gateway")]
    for each in known:
        if each.silent_since_us is not None and each.state is State.READY:
            for_ = words.age(max(facts.now_us - each.silent_since_us, SECOND_US))
            yield Trouble(
                brief=f"{each.name} silent {for_}",
                sentence=_why(f"{each.name} has given no sign of life for {for_}", each) + ".",
            )
    given_up = _failing(facts)
    for each in known:
        if each.state is State.CRASHED and each.deployment not in given_up:
            yield Trouble(
                brief=f"{each.name} crashed", sentence=_why(f"{each.name} crashed", each) + "."
            )


def _failing(facts: Facts) -> set[str]:
    return {each.name for each in deployments.shown(facts) if each.state == "failing"}


def _deployments(facts: Facts) -> Iterator[Trouble]:
    """Deployments that the node gave up, and upstreams that are down."""
    if not facts.node.runs:
        return
    for each in deployments.shown(facts):
        if each.state in {"failing", "down"}:
            why = f": {each.reason}" if each.reason else ""
            yield Trouble(
                brief=f"{each.name} {each.state}", sentence=f"{each.name} is {each.state}{why}."
            )


def _arms(facts: Facts) -> Iterator[Trouble]:
    """Arms whose error rate of the last seconds is certainly too high."""
    if not facts.node.runs:
        return
    for arm, seconds in sorted(facts.recent.arms.items()):
        begin = facts.end - ERRORS_S
        tally = tallies.total(each for at, each in seconds.items() if begin < at <= facts.end)
        answered = tally.ok + tally.failed
        surely = measures.interval(tally.failed, answered)
        if tally.failed >= FAILED and surely is not None and surely[0] > ERRORS:
            rate = words.percent(tally.failed / answered)
            yield Trouble(
                brief=f"{arm} errors {rate.replace(' ', '')}",
                sentence=f"{tally.failed} of {words.counted(answered, 'request')} to {arm} failed "
                f"in the last {ERRORS_S} s.",
            )


def _queue(facts: Facts) -> Iterator[Trouble]:
    """Requests that nothing can take, and requests that wait too long."""
    since, held = load.held_since(facts), load.held_now(facts)
    if since is not None:
        for_us = (facts.end - since) * SECOND_US
        unwell = [each for each in deployments.shown(facts) if not each.well]
        if for_us >= (HELD_US if unwell else WAIT_US):
            what = ", ".join(f"{each.name} ({each.state})" for each in unwell) or "an instance"
            said = f"{words.counted(held, 'request')} in the gateway"
            yield Trouble(
                brief=f"{held} held {words.age(for_us)}",
                sentence=f"{said}, held for {words.age(for_us)}: waiting for {what}.",
            )
    for name, each in sorted(load.by_deployment(facts).items()):
        if each.oldest_us is not None and each.waiting and each.oldest_us >= WAIT_US:
            oldest = words.age(each.oldest_us)
            yield Trouble(
                brief=f"queue {each.waiting}, {oldest}",
                sentence=f"{words.counted(each.waiting, 'request')} in the queue of {name}, the "
                f"oldest for {oldest}.",
            )


def _files(facts: Facts) -> Iterator[Trouble]:
    """Instances that serve from memory what they could not load again."""
    if not facts.node.runs:
        return
    for each in facts.processes:
        if each.state is State.READY and each.loaded is not None and each.loaded.missing:
            yield Trouble(
                brief=f"{each.name} file gone",
                sentence=f"The file of {each.name} is gone: {each.loaded.missing}. It serves from "
                "memory and cannot be started again; put the file back.",
            )


def _machine(facts: Facts) -> Iterator[Trouble]:
    now = machine.machine(facts)
    if now.host is not None:
        host = now.host
        for name, used, total in (
            ("disk", host.disk_used, host.disk_total),
            ("memory", host.memory_used, host.memory_total),
        ):
            if total and used / total >= FULL:
                share = words.percent(used / total).replace(" ", "")
                left = words.size(total - used)
                yield Trouble(
                    brief=f"{name} {share}", sentence=f"The {name} is {share} full: {left} left."
                )
    for gpu in now.gpus:
        hot = [reason for reason in gpu.throttle if reason.startswith(_THERMAL)]
        if hot:
            yield Trouble(
                brief=f"GPU {gpu.index} throttled",
                sentence=f"GPU {gpu.index} is throttled: {', '.join(hot)}.",
            )


def _config(facts: Facts) -> Iterator[Trouble]:
    if facts.config_problem:
        yield Trouble(
            brief="config.toml unusable", sentence=f"{facts.config_problem} Defaults are shown."
        )


def _restarted(facts: Facts) -> Iterator[Trouble]:
    """Instances that died within the last minute and are back, or about to be."""
    if not facts.node.runs:
        return
    for each in facts.processes:
        ago_us = facts.now_us - each.started_at_us
        if each.restarts and each.state in {State.STARTING, State.READY} and ago_us < AGAIN_US:
            ago = words.age(max(ago_us, SECOND_US))
            times = "" if each.restarts == 1 else f", {each.restarts} times in all"
            yield Trouble(
                brief=f"{each.name} restarted",
                sentence=f"{each.name} was restarted {ago} ago{times}; it is {each.state.value}.",
            )


def _now(process: processes.Process) -> str:
    return "crashed" if process.state is State.CRASHED else f"is {process.state.value}"


def _why(said: str, process: processes.Process) -> str:
    return f"{said}: {process.reason.rstrip('.')}" if process.reason else said
