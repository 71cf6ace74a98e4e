"""The status as text: the node, what is wrong, the machine, deployments, services and their arms.

Of many services it shows those that fail and the busiest. Pure. Imported by `app.commands.status`.
"""

from __future__ import annotations

from collections.abc import Sequence

from app import snapshot, words
from storage import splits
from storage.home.paths import Home

_DASH = words.UNKNOWN
MOST = 12
"""Services, problems and processes that are shown in full; the rest is counted."""
_DEPLOYMENT = (
    "DEPLOYMENT", "READY", "STATE", "RUNNING", "WAITING", "OLDEST", "KV", "TOKENS", "BUSY",
)  # fmt: skip
_ARM = ("ARM", "MODEL", "PROMPT", "SET", "ACTUAL", "REQ/S", "P95", "TTFT95", "ERR", "LIKED")


def lines(header: snapshot.Header, pulse: snapshot.Pulse, home: Home, gateway: str) -> list[str]:
    """The status as text, most urgent first."""
    out = [*_then(header, pulse)] if header.past else [*_node(header, pulse, home, gateway)]
    out += [f"▲ {words.safe(each.sentence)}" for each in header.troubles[:MOST]]
    if more := len(header.troubles[MOST:]):
        out.append(f"▲ and {more} more; `paddock status --json` lists all of them")
    out += [_maintenance(each) for each in pulse.maintenance[:MOST]]
    if more := len(pulse.maintenance[MOST:]):
        out.append(f"and {more} more; `paddock alerts silences` lists all of them")
    if header.error:
        return [*out, "Services, traffic and figures are in the store, which cannot be read now."]
    out += ["", *_machine(pulse.machine, then=header.past is not None), "", *_deployments(pulse)]
    shown = _foremost(pulse.services)
    for service in shown:
        out += ["", *_service(service, pulse.window)]
    if more := len(pulse.services) - len(shown):
        rest = sum(each.requests for each in pulse.services) - sum(each.requests for each in shown)
        said = f"and {words.counted(more, 'more service')}: {words.counted(rest, 'request')}"
        out += ["", f"{said}; `paddock services list` lists all of them"]
    if not pulse.services:
        out += ["", "No service yet: `paddock services create NAME --release r1` creates one."]
    return out


def _maintenance(each: snapshot.Maintenance) -> str:
    """A window: since when or from when on, until when, of what, by whom and why."""
    until = words.clock(each.ends_at_us)
    span = f"until {until}" if each.begun else f"{words.clock(each.starts_at_us)} to {until}"
    return words.safe(f"maintenance  {each.of} {span} by {each.by}: {each.reason}")


def _foremost(services: Sequence[snapshot.Service]) -> Sequence[snapshot.Service]:
    """As many as fit on a page: those whose requests fail, then the busiest; in their order."""
    if len(services) <= MOST:
        return services

    def rank(service: snapshot.Service) -> tuple[int, int, int]:
        arms = service.arms
        failing = sum(arm.failed for arm in arms), sum(arm.refused for arm in arms)
        return -failing[0], -failing[1], -service.requests

    chosen = {each.name for each in sorted(services, key=rank)[:MOST]}
    return [each for each in services if each.name in chosen]


def _node(header: snapshot.Header, pulse: snapshot.Pulse, home: Home, gateway: str) -> list[str]:
    run = pulse.run
    if not header.node.runs:
        measured = (
            "nothing was measured yet"
            if header.as_of_us is None
            else f"the figures below were measured {words.age(header.now_us - header.as_of_us)} ago"
        )
        return [f"NODE DOWN  `paddock serve` starts it; {measured}", f"home {home.root}"]
    said = f"{words.safe(header.host)}  node"
    if run is not None:
        up = header.now_us - run.started_at_us
        since = words.duration(up) if up >= 0 else f"{_DASH} (the clock was set back)"
        said += f" {run.version} runs, pid {run.pid}, up {since}"
    ailing = [each for each in pulse.processes if each.state != "ready" or each.restarts]
    return [
        said,
        f"home {home.root}   gateway {gateway}",
        "processes " + (_several(ailing) or f"all {len(pulse.processes)} ready"),
    ]


def _then(header: snapshot.Header, pulse: snapshot.Pulse) -> list[str]:
    """The moment, the node at that time, and what is not known of it."""
    run, at = pulse.run, words.clock(header.now_us)
    node = "no node had been started"
    if run is not None:
        up = words.duration(header.now_us - run.started_at_us)
        node = f"node {run.version}, pid {run.pid}, up {up}"
        node = node if header.node.runs else f"node {run.version} did not run"
    ailing = [each for each in pulse.processes if each.state != "ready" or each.restarts]
    rows = [f"PAST {at}  {words.safe(header.host)}  {node}"]
    if header.node.runs:
        rows.append("processes " + (_several(ailing) or f"all {len(pulse.processes)} ready"))
    return rows + [f"not known: {each}" for each in header.past or ()]


def _several(ailing: Sequence[snapshot.Process]) -> str:
    more = f"; and {len(ailing) - MOST} more" if len(ailing) > MOST else ""
    return "; ".join(map(_process, ailing[:MOST])) + more


def _process(each: snapshot.Process) -> str:
    again = f", {_restarted(each)}" if each.restarts else ""
    why = f" ({words.safe(each.reason)})" if each.reason else ""
    return f"{each.name} {each.state}{again}{why}"


def _restarted(each: snapshot.Process | snapshot.Instance) -> str:
    last = f" (the last time {words.safe(each.died)})" if each.died else ""
    return f"restarted {each.restarts}x{last}"


def _machine(machine: snapshot.Machine, *, then: bool = False) -> list[str]:
    host = machine.host
    if then and host is None:
        return ["host  not measured then, or deleted since"]
    rows = [
        "host  not measured now"
        if host is None
        else f"host  CPU {words.percent(host.cpu)} of {host.cores} cores   load {host.load1:.2f}   "
        f"memory {words.size(host.memory_used)} of {words.size(host.memory_total)}   "
        f"disk {words.size(host.disk_used)} of {words.size(host.disk_total)}"
    ]
    rows += [
        f"GPU {gpu.index} {words.safe(gpu.name)}  {words.percent(gpu.utilisation)}   "
        f"memory {words.size(gpu.memory_used)} of {words.size(gpu.memory_total)}   "
        f"{words.watts(gpu.power_mw)} of {words.watts(gpu.power_limit_mw)} W   "
        f"{words.whole(gpu.temperature_c)} °C"
        + (f"   throttled: {', '.join(gpu.throttle)}" if gpu.throttle else "")
        for gpu in machine.gpus
    ]
    if not machine.gpus:
        silent = "NVML is silent" if machine.driver else "driver not found"
        rows.append(f"GPU   no GPU: {silent}")
    return rows


def _deployments(pulse: snapshot.Pulse) -> list[str]:
    """A row for each deployment, and for each instance where there are several; then what ails."""
    if not pulse.deployments:
        return ["No deployment runs: no split sends traffic to a release that needs one."]
    rows: list[tuple[str, ...]] = [_DEPLOYMENT]
    backends = ["BACKEND"]
    for each in pulse.deployments:
        ready = _DASH if each.backend == "upstream" else f"{each.ready}/{each.replicas}"
        rows.append((each.name, ready, each.state, *_load(each.load)))
        backends.append(each.backend)
        if len(each.instances) > 1:
            rows += [(f"  {one.name}", "", one.state, *_load(one.load)) for one in each.instances]
            backends += [""] * len(each.instances)
    if any(each.backend != "local" for each in pulse.deployments):
        rows = _beside(rows, backends[0], backends[1:])
    notes = []
    for each in pulse.deployments:
        again = [f"{one.name} {_restarted(one)}" for one in each.instances if one.restarts]
        why = [each.reason] if each.reason and not each.well else []
        if again or why:
            notes.append(f"{each.name}: {words.safe('; '.join(why + again))}")
    return words.table(rows, right=(1, *range(3, len(_DEPLOYMENT)))) + notes


def _load(load: snapshot.Load | None) -> tuple[str, ...]:
    if load is None:
        return (_DASH,) * 6
    waiting = bool(load.waiting)
    return (
        f"{load.running}/{words.whole(load.max_running)}",
        words.count(load.waiting),
        words.duration(load.oldest_us) if waiting else _DASH,
        words.percent(load.kv),
        words.rate(load.tokens_per_s, "tok"),
        words.percent(load.busy),
    )


def _service(service: snapshot.Service, window: snapshot.TrafficWindow) -> list[str]:
    span = words.duration(window.window_us)
    head = f"service {service.name}   last {span}: {words.counted(service.requests, 'request')}"
    if service.requests:
        head += f", synthetic {words.percent(service.synthetic)}"
    notes = [words.safe(note) for note in (service.frozen, service.owner) if note]
    rows = [_ARM, *(_arm(arm) for arm in service.arms)]
    if any(arm.refused for arm in service.arms):
        rows = _beside(rows, "REFUSED", [words.count(arm.refused) for arm in service.arms])
    if window.priced:
        money = [words.money(arm.kilo_micro, window.currency) for arm in service.arms]
        rows = _beside(rows, "/1k TOK", money)
    return [head, *notes, *words.table(rows, right=range(3, len(rows[0])))]


def _beside(rows: Sequence[tuple[str, ...]], title: str, cells: list[str]) -> list[tuple[str, ...]]:
    """One more column; eighty cells hold it only where it says something."""
    return [(*row, cell) for row, cell in zip(rows, [title, *cells], strict=True)]


def _arm(arm: snapshot.Arm) -> tuple[str, ...]:
    judged = arm.up + arm.down
    return (
        f"r{arm.release}",
        words.safe(arm.model),
        words.safe(arm.prompt) or _DASH,
        _DASH if arm.departed else splits.percent(arm.weight_bp),
        words.share(arm.actual, arm.between),
        words.rate(arm.per_s),
        words.duration(arm.p95_us),
        words.duration(arm.ttft_p95_us),
        words.percent(arm.errors),
        f"{words.percent(arm.liked)} of {judged}" if judged else _DASH,
    )
