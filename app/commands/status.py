"""`paddock status`: an on-call engineer's first look, the pulse of the screen as text.

It draws the same picture that the screen does. With the node down it shows what the store knows,
says so, and leaves with exit code 3.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import typer

from app import node_client, reader, session, snapshot, terminal, words
from app.commands import options
from app.query import Interest
from storage import splits
from storage.home import clock
from storage.home.paths import Home

_DOWN = 3
_DASH = words.UNKNOWN
_READY = "ready"
_ARM = ("ARM", "MODEL", "PROMPT", "SET", "ACTUAL", "REQ/S", "P95", "TTFT95", "ERR", "LIKED")


def status(as_json: options.Json = False) -> None:
    """What the box is doing now, for a first look."""
    raise typer.Exit(show(as_json=as_json))


def show(*, as_json: bool) -> int:
    """Print the status; the exit code says whether the node runs."""
    return terminal.run(print_now(as_json=as_json))


async def print_now(*, as_json: bool) -> int:
    """The same inside a running loop."""
    home = session.home()
    async with session.store() as store:
        looker = reader.Looker(home, store, now_us=clock.now_us)
        picture = await looker.look(Interest(place="pulse"))
    house, pulse = picture.house, picture.pulse
    assert pulse is not None  # noqa: S101 it is what was asked for
    up = house.node is snapshot.Node.UP
    trouble = await node_client.trouble(home) if up else None
    plain = {"up": up, "trouble": trouble, **_plain(house, pulse)}
    terminal.show(plain, lines(house, pulse, home, looker.facts.gateway, trouble), as_json=as_json)
    return 0 if up else _DOWN


def _plain(house: snapshot.HouseLine, pulse: snapshot.Pulse) -> dict[str, object]:
    """For scripts: the figures without the charts' seconds."""
    seen: dict[str, object] = msgspec.to_builtins(pulse)
    del seen["charts"]
    return {"house": house, **seen}


def lines(
    house: snapshot.HouseLine,
    pulse: snapshot.Pulse,
    home: Home,
    gateway: str,
    trouble: str | None = None,
) -> list[str]:
    """The status as text, most urgent first; `trouble` is why nothing can be written down."""
    out = [*_node(house, pulse, home, gateway)]
    if house.config_problem:
        out.append(f"CONFIG {words.safe(house.config_problem)} Defaults are shown.")
    if trouble is not None:
        out.append(f"STORE {words.safe(trouble)}")
    out += ["", *_machine(pulse.machine), "", *_workers(pulse)]
    for service in pulse.services:
        out += ["", *_service(service, pulse.lately)]
    if not pulse.services:
        out += ["", "No service yet: `paddock services create NAME --release r1` makes one."]
    return out


def _node(house: snapshot.HouseLine, pulse: snapshot.Pulse, home: Home, gateway: str) -> list[str]:
    run = pulse.run
    if house.node is not snapshot.Node.UP:
        age = _DASH if house.as_of_us is None else words.age(house.now_us - house.as_of_us)
        return [
            f"NODE DOWN  `paddock serve` starts it; what follows was last measured {age} ago",
            f"home {home.root}",
        ]
    said = f"{words.safe(house.host)}  node"
    if run is not None:
        up = house.now_us - run.started_at_us
        since = words.duration(up) if up >= 0 else f"{_DASH} (the clock was set back)"
        said += f" {run.version} runs, pid {run.pid}, up {since}"
    ailing = [part for part in pulse.parts if part.state != _READY or part.restarts]
    return [
        said,
        f"home {home.root}   gateway {gateway}",
        "parts " + ("; ".join(map(_part, ailing)) or f"all {len(pulse.parts)} ready"),
    ]


def _part(part: snapshot.Part) -> str:
    again = f", restarted {part.restarts}x" if part.restarts else ""
    why = f" ({words.safe(part.reason)})" if part.reason else ""
    return f"{part.name} {part.state}{again}{why}"


def _machine(machine: snapshot.Machine) -> list[str]:
    host = machine.host
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


def _workers(pulse: snapshot.Pulse) -> list[str]:
    workers = [part for part in pulse.parts if part.kind == "worker"]
    if not workers:
        return ["No worker: no service has a release that needs one."]
    head = ("WORKER", "STATE", "RUNNING", "WAITING", "OLDEST", "KV", "TOKENS", "BUSY")
    rows = [head, *(_worker(worker) for worker in workers)]
    return words.table(rows, right=range(2, 8))


def _worker(worker: snapshot.Part) -> tuple[str, ...]:
    load = worker.load
    if load is None:
        return (worker.name, worker.state, *[_DASH] * 6)
    return (
        worker.name,
        worker.state,
        f"{load.running}/{words.whole(load.max_running)}",
        words.count(load.waiting),
        words.duration(load.oldest_us) if load.waiting else _DASH,
        words.percent(load.kv),
        words.rate(load.tokens_per_s, "tok"),
        words.percent(load.busy),
    )


def _service(service: snapshot.Service, lately: snapshot.Lately) -> list[str]:
    window = words.duration(lately.window_us)
    head = f"service {service.name}   last {window}: {words.count(service.requests)} requests"
    if service.requests:
        head += f", synthetic {words.percent(service.synthetic)}"
    rows = [_ARM, *(_arm(arm) for arm in service.arms)]
    if any(arm.refused for arm in service.arms):
        rows = _beside(rows, "REFUSED", [words.count(arm.refused) for arm in service.arms])
    if lately.priced:
        money = [words.money(arm.kilo_micro, lately.currency) for arm in service.arms]
        rows = _beside(rows, "/1k TOK", money)
    return [head, *words.table(rows, right=range(3, len(rows[0])))]


def _beside(rows: Sequence[tuple[str, ...]], title: str, cells: list[str]) -> list[tuple[str, ...]]:
    """One more column; eighty cells hold it only where it says something."""
    return [(*row, cell) for row, cell in zip(rows, [title, *cells], strict=True)]


def _arm(arm: snapshot.Arm) -> tuple[str, ...]:
    judged = arm.up + arm.down
    return (
        f"r{arm.release}",
        words.safe(arm.model),
        words.safe(arm.prompt) or _DASH,
        splits.percent(arm.weight_bp),
        words.percent(arm.actual),
        words.rate(arm.per_s),
        words.duration(arm.p95_us),
        words.duration(arm.ttft_p95_us),
        words.percent(arm.errors),
        f"{words.percent(arm.liked)} of {judged}" if judged else _DASH,
    )
