"""What is known to be wrong, the worst first: the one list of the header and of `paddock status`.

Pure: the node and the gateway were asked, the store was read. Each trouble is a few words and a
sentence. Imported by `app.figures.places`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from app import words
from app.figures import alerts, deployments, machine, rollout_troubles, traffic_troubles
from app.figures.facts import SECOND_US, Facts
from app.liveness import Readiness
from app.snapshot import Node, Trouble
from storage import processes
from storage.processes import State

FULL: Final = 0.95  # of the disk, or of the memory
AGAIN_US: Final = 60 * SECOND_US  # an instance that was restarted within this time has just died

_THERMAL: Final = ("thermal", "hardware", "heat")


def troubles(facts: Facts) -> tuple[Trouble, ...]:
    """All that is wrong, the worst first."""
    return tuple(
        trouble
        for part in (_node, _store, _gateway, _services, alerts.critical, traffic_troubles.rejected,
                     _processes,
                     _deployments, rollout_troubles.rollouts, traffic_troubles.arms,
                     traffic_troubles.queue, alerts.warnings,
                     alerts.undelivered, alerts.unevaluated, _files, _machine, _config, _restarted)
        for trouble in part(facts)
    )  # fmt: skip


def _readiness(facts: Facts) -> Readiness:
    return Readiness() if facts.answers is None else facts.answers.gateway


def _node(facts: Facts) -> Iterator[Trouble]:
    if facts.node is Node.DOWN and facts.past is not None:
        yield Trouble(brief="NODE DOWN", sentence="The node did not run at that moment.")
    elif facts.node is Node.DOWN:
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
            died = facts.deaths.get(each.name, "").rstrip(".")
            before = f" Before, {died}." if died else ""
            yield Trouble(
                brief=f"{each.name} restarted",
                sentence=f"{each.name} was restarted {ago} ago{times}; it is {each.state.value}."
                f"{before}",
            )


def _now(process: processes.Process) -> str:
    return "crashed" if process.state is State.CRASHED else f"is {process.state.value}"


def _why(said: str, process: processes.Process) -> str:
    return f"{said}: {process.reason.rstrip('.')}" if process.reason else said
