"""What was measured in each second: the host, its GPUs, the gateway, instances, arms, tenants.

One sample for a second, kind and subject. Nothing is estimated: a second without one was not
measured. How they are stored is in `storage.sample_rows`. Written by the gateway and by control;
`storage.measures` makes figures of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final, Literal, cast, overload

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from storage import sample_rows, tallies
from storage.sample_rows import SampleRow
from storage.tallies import ArmSample, Tally

__all__ = [
    "GATEWAY", "TALLIES", "ArmSample", "GatewaySample", "GpuProcess", "GpuSample", "HostSample",
    "InstanceSample", "Kind", "Sample", "SampleRow", "deployment", "newest", "pack", "prune",
    "record", "seconds", "since", "together",
]  # fmt: skip

GATEWAY: Final = "gateway"
"""The subject of the gateway's samples."""
_BACK_S: Final = 60  # rows this far ahead of a new one mean that the clock was set back


class Kind(StrEnum):
    """What a sample is of; the comment says what its subject names."""

    HOST = "host"  # the host's name
    GPU = "gpu"  # its index
    GATEWAY = "gateway"  # "gateway"
    INSTANCE = "instance"  # ops-1.0.0:1, the first copy of the deployment ops-1.0.0
    ARM = "arm"  # support/r14
    TENANT = "tenant"  # support/acme, the requests of one tenant to a service


class HostSample(msgspec.Struct, frozen=True, kw_only=True):
    """The machine; memory and disk in bytes, `cpu_percent` of all cores together."""

    cpu_percent: float
    cores: int
    memory_used: int
    memory_total: int
    disk_used: int
    disk_total: int
    load1: float


class GpuProcess(msgspec.Struct, frozen=True, array_like=True):
    """A process that computes on a GPU; memory in bytes, None where the driver does not say."""

    pid: int
    memory: int | None


class GpuSample(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU; memory in bytes, power in milliwatts, clocks in MHz, the reasons for throttling.

    None where the card does not report a figure, as a MIG slice or a vGPU often does not.
    `energy_mj` is what the card used since its driver was loaded, in millijoules. `xids` are the
    errors that the driver reported since the sample before, and `ecc_uncorrected` counts memory
    errors since the driver was loaded. `processes` are those with most memory, at most sixteen.
    """

    index: int
    name: str
    utilisation_percent: float | None
    memory_used: int
    memory_total: int
    power_mw: int | None
    power_limit_mw: int | None
    temperature_c: int | None
    throttle: tuple[str, ...] = ()
    energy_mj: int | None = None
    clock_mhz: int | None = None
    clock_max_mhz: int | None = None
    memory_clock_mhz: int | None = None
    xids: tuple[int, ...] | None = None
    ecc_uncorrected: int | None = None
    processes: tuple[GpuProcess, ...] | None = None


class GatewaySample(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway itself: what waits in it, and its connections.

    `held` are the accepted requests that no instance counts as running or waiting: they wait for
    one to start, to connect, or to read its socket. Together with `InstanceSample.waiting` they
    are the queue. `refused` counts by reason the connections that were refused or closed because
    of a limit or a timeout, `rejected` by error code the requests that were answered with an error
    and not recorded (missing_api_key, model_not_found, no_release …), both in the span that the
    row covers; the rest is the state at its end.
    """

    held: int
    connections: int
    refused: dict[str, int] = {}
    rejected: dict[str, int] = {}


class InstanceSample(msgspec.Struct, frozen=True, kw_only=True):
    """One instance: a worker, a supervised server or an upstream.

    Counts and times are of the span that the row covers (see `engine.metering.windows`), the rest
    is the state at its end. None where a backend does not report a figure; `kv_share` (0 to 1) is
    what a server reports instead of tokens.
    """

    running: int
    waiting: int
    max_running: int | None = None
    oldest_waiting_us: int | None = None
    sequences: int | None = None
    kv_used_tokens: int | None = None
    kv_total_tokens: int | None = None
    kv_share: float | None = None
    steps: int | None = None
    prefill_tokens: int = 0
    decode_tokens: int = 0
    busy_us: int | None = None
    idle_us: int | None = None
    batch_max: int | None = None


Sample = HostSample | GpuSample | GatewaySample | InstanceSample | ArmSample

_TYPES: Final[dict[Kind, type[Sample]]] = {
    Kind.HOST: HostSample,
    Kind.GPU: GpuSample,
    Kind.GATEWAY: GatewaySample,
    Kind.INSTANCE: InstanceSample,
    Kind.ARM: ArmSample,
    Kind.TENANT: ArmSample,
}
_KINDS: Final = tuple(kind.value for kind in Kind)
TALLIES: Final = (Kind.ARM, Kind.TENANT)
"""The kinds whose samples add up, and are rolled up (`storage.rollups`)."""


def deployment(instance: str) -> str:
    """The deployment of an instance: ops-1.0.0 of ops-1.0.0:2; an upstream is its own."""
    name, colon, number = instance.rpartition(":")
    return name if colon and number.isdecimal() else instance


def together(arms: Iterable[ArmSample]) -> ArmSample:
    """The sum of several seconds, or of several arms."""
    return tallies.total(Tally.of(arm) for arm in arms).sample()


async def record(s: AsyncSession, second: int, samples: Iterable[tuple[Kind, str, Sample]]) -> None:
    """Store the samples of one second (UTC, whole seconds since 1970).

    An arm or a tenant is added to the row that it has for that second, which a gateway that was
    restarted within the second wrote. For other kinds the later measurement replaces the earlier;
    so it does for arms and tenants when the clock was set back and the second comes again. Roll-ups
    of that time are amended by the caller (`storage.rollups.amend`).
    """
    new = {(Kind(kind), subject): sample for kind, subject, sample in samples}
    for (kind, subject), sample in new.items():
        if not isinstance(sample, _TYPES[kind]):
            raise TypeError(f"{kind} {subject} is a {type(sample).__name__}")
    if not new:
        return
    kinds = {kind.value for kind, _ in new}
    known = await sample_rows.known(
        s, second, kinds, leading=Kind.ARM.value, later=second + _BACK_S
    )
    if known.packed:
        await sample_rows.unpack(s, second, kinds)
    if (known.written or known.packed) and not known.later:
        for kind in TALLIES:
            subjects = [subject for each, subject in new if each is kind]
            for subject, before in await _stored(s, kind, second, subjects):
                new[kind, subject] = together([before, cast("ArmSample", new[kind, subject])])
    rows = [
        {
            "kind": kind.value,
            "second": second,
            "subject": subject,
            "body": _body(sample),
        }
        for (kind, subject), sample in new.items()
    ]
    await sample_rows.write(s, rows)


@overload
async def since(
    s: AsyncSession,
    second: int,
    kind: Literal[Kind.HOST],
    until: int | None = None,
    prefix: str = "",
) -> list[tuple[int, str, HostSample]]: ...
@overload
async def since(
    s: AsyncSession,
    second: int,
    kind: Literal[Kind.GPU],
    until: int | None = None,
    prefix: str = "",
) -> list[tuple[int, str, GpuSample]]: ...
@overload
async def since(
    s: AsyncSession,
    second: int,
    kind: Literal[Kind.GATEWAY],
    until: int | None = None,
    prefix: str = "",
) -> list[tuple[int, str, GatewaySample]]: ...
@overload
async def since(
    s: AsyncSession,
    second: int,
    kind: Literal[Kind.INSTANCE],
    until: int | None = None,
    prefix: str = "",
) -> list[tuple[int, str, InstanceSample]]: ...
@overload
async def since(
    s: AsyncSession,
    second: int,
    kind: Literal[Kind.ARM, Kind.TENANT],
    until: int | None = None,
    prefix: str = "",
) -> list[tuple[int, str, ArmSample]]: ...
async def since(
    s: AsyncSession, second: int, kind: Kind, until: int | None = None, prefix: str = ""
) -> list[tuple[int, str, Any]]:
    """The samples of a kind from a second on, as (second, subject, sample), oldest first.

    `until` is the last second to read: a clock that was set back leaves samples in its future.
    `prefix` selects subjects that begin with it, such as "support/".
    """
    decoder = msgspec.json.Decoder(_TYPES[kind])
    found = await sample_rows.between(s, kind.value, second, until, prefix)
    return [(at, subject, decoder.decode(body)) for at, subject, body in found]


async def seconds(s: AsyncSession, kind: Kind, begin: int, end: int) -> list[int]:
    """The seconds from one to another, both included, that have a sample of a kind."""
    return sorted({row[0] for row in await sample_rows.between(s, kind.value, begin, end)})


async def newest(s: AsyncSession, until: int) -> int | None:
    """The newest second up to `until` that has a sample, None without one."""
    plain, packed = await sample_rows.edge(s, _KINDS, until)
    if packed is None or (plain is not None and plain >= packed + sample_rows.MINUTE_S):
        return plain
    seconds = [await sample_rows.newest(s, kind, until) for kind in _KINDS]
    return max((second for second in seconds if second is not None), default=None)


async def prune(s: AsyncSession, before_second: int, limit: int = 5_000) -> int:
    """Delete at most `limit` rows of samples older than a second; returns how many, 0 when done."""
    gone = 0
    for kind in Kind:
        gone += await sample_rows.prune(s, kind.value, before_second, limit - gone)
    return gone


async def pack(s: AsyncSession, before_second: int, minutes: int = 10) -> bool:
    """Pack at most this many minutes of each kind before a second; whether more are left."""
    more = [await sample_rows.pack(s, kind.value, before_second, minutes) for kind in Kind]
    return any(more)


def _body(sample: Sample) -> str:
    """A sample as JSON; of a tally without what is zero or empty, which is most of it."""
    if not isinstance(sample, ArmSample):
        return msgspec.json.encode(sample).decode()
    fields = msgspec.structs.asdict(sample)
    return msgspec.json.encode({name: value for name, value in fields.items() if value}).decode()


async def _stored(
    s: AsyncSession, kind: Kind, second: int, subjects: list[str]
) -> list[tuple[str, ArmSample]]:
    if not subjects:
        return []
    query = select(col(SampleRow.subject), col(SampleRow.body)).where(
        col(SampleRow.kind) == kind.value,
        col(SampleRow.second) == second,
        col(SampleRow.subject).in_(subjects),
    )
    found = await s.execute(query)
    return [(subject, msgspec.json.decode(body, type=ArmSample)) for subject, body in found]
