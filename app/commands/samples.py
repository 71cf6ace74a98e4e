"""`paddock samples`: the last seconds one by one, and the requests of any time together."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from app import errors, listing, moments, session, terminal, words
from app.commands import options
from app.listing import Column
from storage import instance_work, measures, samples
from storage.home import clock
from storage.measures import Traffic, Window
from storage.samples import ArmSample, GatewaySample, GpuSample, HostSample, InstanceSample
from storage.sketches import Sketch

app = options.group()

_SECOND_US: Final = 1_000_000
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_LONGEST_S: Final = 10 * 366 * 86_400
_NO_GPU: Final = "No GPU was measured: this box has none, or its driver was not found."


@app.command()
async def tail(
    kind: Annotated[
        samples.Kind, typer.Option("--kind", help="Of what.", case_sensitive=False)
    ] = samples.Kind.INSTANCE,
    seconds: Annotated[
        int, typer.Option("--seconds", "-n", min=1, max=900, help="How many seconds back.")
    ] = 20,
    at: options.At = None,
    as_json: options.Json = False,
) -> None:
    """List the last measured seconds, newest at the bottom.

    --at lists those up to then; seconds are deleted after samples_days.
    """
    at_us = moments.at(at)
    async with session.reading() as s:
        newest = await samples.newest(s, _second(at_us))
        since = 0 if newest is None else newest - seconds + 1
        found: list[tuple[int, str, Any]] = await samples.since(s, since, kind, newest)  # type: ignore[call-overload]
    document = [{"second": at, "subject": of, "sample": sample} for at, of, sample in found]
    head, cells = _FACES[kind]
    rows = [("AT", kind.value.upper(), *head)]
    rows += [(words.clock(at * _SECOND_US), of, *cells(sample)) for at, of, sample in found]
    lines = words.table(rows, right=range(2, len(rows[0])))
    if newest is None:
        then = "by then, or it is deleted" if at_us is not None else "yet"
        lines = [f"Nothing was measured {then}."]
    elif not found:
        lines = [_NO_GPU if kind is samples.Kind.GPU else f"No {kind.value} was measured."]
    terminal.show(document, lines, as_json=as_json)


class By(StrEnum):
    """What a row of `sum` is of."""

    ARM = "arm"
    SERVICE = "service"
    TENANT = "tenant"


@app.command("sum")
async def total(
    last: Annotated[str, typer.Option("--last", help="How long: 90s, 15m, 24h, 30d.")] = "24h",
    by: Annotated[By, typer.Option("--by", help="A row for each.", case_sensitive=False)] = By.ARM,
    service: Annotated[str | None, typer.Option("--service", help="Only of this one.")] = None,
    at: options.At = None,
    as_json: options.Json = False,
) -> None:
    """Sum up the requests of a recent period. Its percentiles are within 1 %."""
    window = Window.last(_seconds(last), _second(moments.at(at)))
    async with session.reading() as s:
        read = measures.by_tenant if by is By.TENANT else measures.by_arm
        found = await read(s, window, service=service)
    if by is By.SERVICE:
        services: dict[str, list[Traffic]] = {}
        for arm, traffic in found.items():
            services.setdefault(arm.partition("/")[0], []).append(traffic)
        found = {name: measures.total(parts, window) for name, parts in services.items()}
    document = {
        subject: {name: each.of(traffic) for name, each in measures.MEASURES.items()}
        for subject, traffic in sorted(found.items())
    }
    listing.show(
        _SUMS, sorted(found.items()), as_json=as_json, document=document,
        empty=f"No request was measured in the last {last}.",
    )  # fmt: skip


def _second(at_us: int | None) -> int:
    """The second of a moment; without one, the current second."""
    return (clock.now_us() if at_us is None else at_us) // _SECOND_US


def _seconds(typed: str) -> int:
    number, unit = typed[:-1], typed[-1:]
    if unit not in _UNITS or not number.isascii() or not number.isdecimal() or not int(number):
        raise errors.BadWord(f"{typed!r} is not a time; write 90s, 15m, 24h or 30d.")
    return min(int(number), _LONGEST_S) * _UNITS[unit]


def _liked(traffic: Traffic) -> str:
    """Thumbs up of all thumbs; the 95 % interval while they are few."""
    return words.share(measures.satisfaction(traffic), measures.satisfaction_interval(traffic))


_SUMS: Final[tuple[Column[tuple[str, Traffic]], ...]] = (
    Column("SUBJECT", lambda row: row[0]),
    Column("REQUESTS", lambda row: words.count(row[1].tally.requests), right=True),
    Column("ERRORS", lambda row: words.percent(measures.error_rate(row[1])), right=True),
    Column("P50", lambda row: words.duration(measures.latency(row[1], 0.5)), right=True),
    Column("P95", lambda row: words.duration(measures.latency(row[1], 0.95)), right=True),
    Column("P99", lambda row: words.duration(measures.latency(row[1], 0.99)), right=True),
    Column("TTFT95", lambda row: words.duration(measures.ttft(row[1], 0.95)), right=True),
    Column("TOKENS", lambda row: words.count(row[1].tally.completion_tokens), right=True),
    Column("CACHED", lambda row: words.percent(measures.cached_share(row[1])), right=True),
    Column("LIKED", lambda row: _liked(row[1]), right=True),
)


def _host(host: HostSample) -> tuple[str, ...]:
    return (
        words.percent(host.cpu_percent / 100),
        f"{host.load1:.2f}",
        f"{words.size(host.memory_used)} of {words.size(host.memory_total)}",
        f"{words.size(host.disk_used)} of {words.size(host.disk_total)}",
    )


def _gpu(gpu: GpuSample) -> tuple[str, ...]:
    busy = None if gpu.utilisation_percent is None else gpu.utilisation_percent / 100
    return (
        words.percent(busy),
        f"{words.size(gpu.memory_used)} of {words.size(gpu.memory_total)}",
        words.UNKNOWN if gpu.power_mw is None else f"{gpu.power_mw / 1000:.0f} W",
        words.UNKNOWN if gpu.temperature_c is None else f"{gpu.temperature_c} °C",
        ", ".join(gpu.throttle) or "no",
        words.UNKNOWN if gpu.clock_mhz is None else f"{gpu.clock_mhz} MHz",
        _errors(gpu),
    )


def _errors(gpu: GpuSample) -> str:
    """Xids of the second, and uncorrected memory errors since the driver was loaded."""
    said = [f"Xid {xid}" for xid in gpu.xids or ()]
    if gpu.ecc_uncorrected:
        said.append(f"ECC {gpu.ecc_uncorrected}")
    readable = gpu.xids is not None or gpu.ecc_uncorrected is not None
    return ", ".join(said) or ("none" if readable else words.UNKNOWN)


def _gateway(row: GatewaySample) -> tuple[str, ...]:
    return (
        words.count(row.held),
        words.count(row.connections),
        _by_reason(row.refused),
        _by_reason(row.rejected),
    )


def _by_reason(counts: dict[str, int]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in sorted(counts.items())) or "none"


def _instance(row: InstanceSample) -> tuple[str, ...]:
    work = instance_work.of([row])
    return (
        f"{row.running}/{words.whole(row.max_running)}",
        words.count(row.waiting),
        words.count(row.batch_max),
        words.count(row.steps),
        words.count(row.prefill_tokens),
        words.count(row.decode_tokens),
        words.percent(instance_work.kv_use([row])),
        words.percent(instance_work.busy_share([] if work is None else [work])),
    )


def _arm(arm: ArmSample) -> tuple[str, ...]:
    return (
        words.count(arm.requests),
        words.count(arm.failed),
        words.count(arm.refused),
        words.count(arm.prompt_tokens),
        words.count(arm.completion_tokens),
        words.duration(Sketch.from_dict(arm.latency).quantile(0.95)),
        words.duration(Sketch.from_dict(arm.ttft).quantile(0.95)),
        words.duration(arm.busy_us),
    )


_TALLY: Final = ("REQUESTS", "FAILED", "REFUSED", "PROMPT", "ANSWER", "P95", "TTFT95", "BUSY")
_FACES: Final[dict[samples.Kind, tuple[tuple[str, ...], Callable[[Any], tuple[str, ...]]]]] = {
    samples.Kind.HOST: (("CPU", "LOAD", "MEMORY", "DISK"), _host),
    samples.Kind.GPU: (
        ("BUSY", "MEMORY", "POWER", "TEMPERATURE", "SLOWED", "CLOCK", "ERRORS"),
        _gpu,
    ),
    samples.Kind.GATEWAY: (("HELD", "CONNECTIONS", "REFUSED", "REJECTED"), _gateway),
    samples.Kind.INSTANCE: (
        ("RUNNING", "WAITING", "BATCH", "STEPS", "PREFILL", "DECODE", "KV", "BUSY"),
        _instance,
    ),
    samples.Kind.ARM: (_TALLY, _arm),
    samples.Kind.TENANT: (_TALLY, _arm),
}
