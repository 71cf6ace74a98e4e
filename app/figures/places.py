"""What each place shows, put together."""

from __future__ import annotations

from typing import Final

from app import snapshot
from app.figures import arms, charts, deployments, load, machine, troubles
from app.figures import facts as facts_
from app.figures.facts import SECOND_US, Facts
from storage import incidents, ledger, measures, processes

_EVENTS: Final = 40
ACTIVE: Final = incidents.State.ACTIVE
_CRASHED: Final = processes.State.CRASHED.value


def header(facts: Facts) -> snapshot.Header:
    """The first row."""
    whole = facts_.whole(facts, facts_.traffic(facts).values())
    newest, ahead = facts.recent.newest, facts.recent.ahead
    return snapshot.Header(
        host=facts.run.host if facts.run else facts.host,
        person=facts.person,
        node=facts.node,
        live=tuple(
            (each.name, tuple((arm.release, arm.weight_bp) for arm in each.split.arms))
            for each in facts.services
        ),
        synthetic=measures.synthetic_share(whole),
        troubles=troubles.troubles(facts),
        incident=next(
            ((each.id, each.began_at_us) for each in facts.incidents if each.state is ACTIVE), None
        ),
        as_of_us=None if newest is None else newest * SECOND_US,
        now_us=facts.now_us,
        past=None if facts.past is None else facts.past.unknown,
        back_us=0 if ahead is None else ahead * SECOND_US - facts.now_us,
    )


def supervised(facts: Facts) -> tuple[snapshot.Process, ...]:
    """The node's processes by name, without the instances of deployments."""
    return tuple(
        snapshot.Process(
            name=each.name,
            kind=each.kind.value,
            state=deployments.state(facts, each),
            reason=each.reason or "",
            restarts=each.restarts,
            pid=each.pid,
            started_at_us=each.started_at_us,
            died=facts.deaths.get(each.name, ""),
        )
        for each in sorted(facts.processes, key=lambda each: each.name)
        if not each.kind.is_instance
    )


def events(facts: Facts) -> tuple[snapshot.Event, ...]:
    """What people wanted and what happened to processes and deployments, newest first."""
    found = [
        snapshot.Event(
            at_us=each.at_us,
            who=each.actor,
            what=each.outcome or f"{each.verb} {each.target}",
            state=each.state.value,
            reason=each.reason,
        )
        for each in facts.intents
    ]
    found += [
        snapshot.Event(
            at_us=each.at_us,
            who=each.actor,
            what=_happened(each),
            state=str(each.after),
        )
        for each in facts.entries
        if each.noun == "process" or (each.noun == "deployment" and each.verb == each.after)
    ]
    return tuple(sorted(found, key=lambda each: each.at_us, reverse=True)[:_EVENTS])


def _happened(entry: ledger.Entry) -> str:
    """What became of a process or a deployment, and why."""
    now = "crashed" if entry.after == _CRASHED else f"is {entry.after}"
    return f"{entry.key} {now}{f': {entry.reason}' if entry.reason else ''}"


def run(facts: Facts) -> snapshot.Run | None:
    """The node's newest run."""
    newest = facts.run
    if newest is None:
        return None
    return snapshot.Run(pid=newest.pid, version=newest.version, started_at_us=newest.started_at_us)


def pulse(facts: Facts) -> snapshot.Pulse:
    """The box at a glance."""
    whole = facts_.whole(facts, facts_.traffic(facts).values())
    return snapshot.Pulse(
        machine=machine.machine(facts),
        load=load.together(facts),
        ttft_p95_us=measures.ttft(whole, 0.95),
        charts=charts.charts(facts),
        services=arms.shown(facts),
        processes=supervised(facts),
        deployments=deployments.shown(facts),
        events=events(facts),
        window=facts_.traffic_window(facts),
        run=run(facts),
        maintenance=maintenance(facts),
    )


def maintenance(facts: Facts) -> tuple[snapshot.Maintenance, ...]:
    """The maintenance windows: those in force, the next end first, then those to come."""
    found = [
        snapshot.Maintenance(
            id=each.id,
            of=each.words,
            by=each.created_by,
            reason=each.comment,
            starts_at_us=each.starts_at_us,
            ends_at_us=each.ends_at_us,
            begun=each.holds(facts.now_us),
        )
        for each in facts.silences
        if each.maintenance is not None
    ]
    return tuple(
        sorted(found, key=lambda each: (not each.begun, each.ends_at_us * each.begun,
                                        each.starts_at_us, each.id))
    )  # fmt: skip


def traffic(facts: Facts) -> snapshot.Traffic:
    """Services and their arms."""
    return snapshot.Traffic(
        services=arms.shown(facts),
        window=facts_.traffic_window(facts),
        waits=arms.waits(facts.available),
    )
