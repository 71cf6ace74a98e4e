"""What was measured in each second: the host, its GPUs, the workers, the arms of services.

One row for a second, kind and subject. Measurements are facts: nothing here is estimated, and a
second without a row was not measured. Written by the gateway and by control, read by everybody.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, ClassVar, Final, Literal, cast, overload

import msgspec
from sqlalchemy import delete, func, select, tuple_
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage.sketches import Sketch

_BACK_S: Final = 60  # so much later there is nothing yet, unless the clock went back


class Kind(StrEnum):
    """What a sample is of, and what its subject names."""

    HOST = "host"  # the host's name
    GPU = "gpu"  # its index
    WORKER = "worker"  # its name
    ARM = "arm"  # service/r14


class SampleRow(SQLModel, table=True):
    """A sample as it is kept; the body is JSON."""

    __tablename__: ClassVar[str] = "samples"

    kind: str = Field(primary_key=True)
    second: int = Field(primary_key=True)
    subject: str = Field(primary_key=True)
    body: str


class HostSample(msgspec.Struct, frozen=True, kw_only=True):
    """The machine; memory and disk in bytes, `cpu_percent` of all cores together."""

    cpu_percent: float
    cores: int
    memory_used: int
    memory_total: int
    disk_used: int
    disk_total: int
    load1: float


class GpuSample(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU; memory in bytes, power in milliwatts, the reasons for which it is slowed down.

    What the card does not tell is None: a MIG slice or a vGPU knows little of the whole.
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


class WorkerSample(msgspec.Struct, frozen=True, kw_only=True):
    """One worker; counts and times are of that second, the rest is as it stood at its end."""

    running: int
    waiting: int
    max_running: int
    oldest_waiting_us: int
    sequences: int
    kv_used_tokens: int
    kv_total_tokens: int
    steps: int
    prefill_tokens: int
    decode_tokens: int
    busy_us: int
    idle_us: int
    batch_max: int


class ArmSample(msgspec.Struct, frozen=True, kw_only=True):
    """One release of a service: what ended in that second; durations as sketches (`to_dict`)."""

    requests: int = 0
    ok: int = 0
    failed: int = 0
    refused: int = 0
    cancelled: int = 0
    synthetic: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    busy_us: int = 0
    latency: dict[str, Any] = {}
    ttft: dict[str, Any] = {}
    inter_token: dict[str, Any] = {}
    thumbs_up: int = 0
    thumbs_down: int = 0


Sample = HostSample | GpuSample | WorkerSample | ArmSample

_TYPES: Final[dict[Kind, type[Sample]]] = {
    Kind.HOST: HostSample,
    Kind.GPU: GpuSample,
    Kind.WORKER: WorkerSample,
    Kind.ARM: ArmSample,
}


def together(arms: Iterable[ArmSample]) -> ArmSample:
    """The sum of several seconds, or of several arms."""
    whole: dict[str, Any] = {}
    sketches = {name: Sketch() for name in ("latency", "ttft", "inter_token")}
    for arm in arms:
        for name in arm.__struct_fields__:
            if name in sketches:
                sketches[name].merge(Sketch.from_dict(getattr(arm, name)))
            else:
                whole[name] = whole.get(name, 0) + getattr(arm, name)
    whole |= {name: sketch.to_dict() for name, sketch in sketches.items()}
    return ArmSample(**whole)


async def record(s: AsyncSession, second: int, samples: Iterable[tuple[Kind, str, Sample]]) -> None:
    """Keep the samples of one second (UTC, whole seconds since 1970).

    An arm that has a row for that second is added to it (a gateway that was put back within the
    second); for the other kinds the later measurement counts, and so it does for arms in a second
    that comes again because the clock went back.
    """
    new = {(Kind(kind), subject): sample for kind, subject, sample in samples}
    for (kind, subject), sample in new.items():
        if not isinstance(sample, _TYPES[kind]):
            raise TypeError(f"{kind} {subject} was given as {type(sample).__name__}")
    arms = [subject for kind, subject in new if kind is Kind.ARM]
    if arms and await _relived(s, second):
        arms = []
    for subject, before in await _arms(s, second, arms):
        new[Kind.ARM, subject] = together([before, cast("ArmSample", new[Kind.ARM, subject])])
    if not new:
        return
    rows = [
        {
            "kind": kind.value,
            "second": second,
            "subject": subject,
            "body": msgspec.json.encode(sample).decode(),
        }
        for (kind, subject), sample in new.items()
    ]
    adding = insert(SampleRow)
    await s.execute(
        adding.on_conflict_do_update(
            index_elements=["kind", "second", "subject"], set_={"body": adding.excluded.body}
        ),
        rows,
    )


@overload
async def since(
    s: AsyncSession, second: int, kind: Literal[Kind.HOST], until: int | None = None
) -> list[tuple[int, str, HostSample]]: ...
@overload
async def since(
    s: AsyncSession, second: int, kind: Literal[Kind.GPU], until: int | None = None
) -> list[tuple[int, str, GpuSample]]: ...
@overload
async def since(
    s: AsyncSession, second: int, kind: Literal[Kind.WORKER], until: int | None = None
) -> list[tuple[int, str, WorkerSample]]: ...
@overload
async def since(
    s: AsyncSession, second: int, kind: Literal[Kind.ARM], until: int | None = None
) -> list[tuple[int, str, ArmSample]]: ...
async def since(
    s: AsyncSession, second: int, kind: Kind, until: int | None = None
) -> list[tuple[int, str, Any]]:
    """The samples of a kind from a second on, as (second, subject, sample), oldest first.

    With `until` none from after it: a clock that went back leaves some in its future.
    """
    query = (
        select(col(SampleRow.second), col(SampleRow.subject), col(SampleRow.body))
        .where(col(SampleRow.kind) == kind.value, col(SampleRow.second) >= second)
        .order_by(col(SampleRow.second), col(SampleRow.subject))
    )
    if until is not None:
        query = query.where(col(SampleRow.second) <= until)
    decoder = msgspec.json.Decoder(_TYPES[kind])
    found = await s.execute(query)
    return [(at, subject, decoder.decode(body)) for at, subject, body in found]


async def newest(s: AsyncSession, until: int) -> int | None:
    """The newest second with any sample that is not after `until`, None without any."""
    seconds = [await _newest(s, kind, until) for kind in Kind]
    return max((second for second in seconds if second is not None), default=None)


async def prune(s: AsyncSession, before_second: int, limit: int = 5_000) -> int:
    """Forget at most `limit` samples from before a second; how many. Call it until it is 0."""
    gone = 0
    for kind in Kind:
        old = (
            select(col(SampleRow.kind), col(SampleRow.second), col(SampleRow.subject))
            .where(col(SampleRow.kind) == kind.value, col(SampleRow.second) < before_second)
            .limit(limit - gone)
        )
        key = tuple_(col(SampleRow.kind), col(SampleRow.second), col(SampleRow.subject))
        result = await s.execute(delete(SampleRow).where(key.in_(old)))
        gone += result.rowcount  # type: ignore[attr-defined]
    return gone


async def _newest(s: AsyncSession, kind: Kind, until: int) -> int | None:
    query = select(func.max(col(SampleRow.second))).where(
        col(SampleRow.kind) == kind.value, col(SampleRow.second) <= until
    )
    return (await s.execute(query)).scalar()


async def _relived(s: AsyncSession, second: int) -> bool:
    """Whether later seconds are written already: the clock went back."""
    query = (
        select(col(SampleRow.second))
        .where(col(SampleRow.kind) == Kind.ARM.value, col(SampleRow.second) > second + _BACK_S)
        .limit(1)
    )
    return (await s.execute(query)).first() is not None


async def _arms(s: AsyncSession, second: int, subjects: list[str]) -> list[tuple[str, ArmSample]]:
    query = select(col(SampleRow.subject), col(SampleRow.body)).where(
        col(SampleRow.kind) == Kind.ARM.value,
        col(SampleRow.second) == second,
        col(SampleRow.subject).in_(subjects),
    )
    found = await s.execute(query)
    return [(subject, msgspec.json.decode(body, type=ArmSample)) for subject, body in found]
