"""The rows of rollouts, as records, and how they are found.

Imported by `storage.rollouts`, which changes them, and through it by every package.
"""

from __future__ import annotations

from typing import ClassVar, Final

import msgspec
from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import Field, SQLModel, col

from storage import errors, guided_changes
from storage.rollout_guards import Guard
from storage.rollout_states import PHASES, Phase, State, Why
from storage.rollout_steps import Mirror, Step, Strategy
from storage.service_rows import Owner, OwnerKind


class Impact(msgspec.Struct, frozen=True, kw_only=True):
    """Who met a candidate that was taken back, as the store counts it.

    `requests` are those of clients that the candidate executed, `failed` of them failed; `users`,
    `keys` and `tenants` are how many different ones sent them: a user is one that a client named,
    or a session. `final` says that the requests that were under way at the end are counted, too.
    `exposed_us` is the time in which the candidate had traffic, `found_us` from its first traffic
    to the move that ended it.
    """

    requests: int
    failed: int
    users: int = 0
    keys: int
    tenants: int
    exposed_us: int
    found_us: int
    final: bool = False


class RolloutRow(SQLModel, table=True):
    """A rollout as it is stored; what is a list or a record is JSON."""

    __tablename__: ClassVar[str] = "rollouts"

    id: int | None = Field(default=None, primary_key=True)
    service: str
    revision: int
    strategy: str
    stable: int | None
    candidate: int
    steps: str
    guards: str
    load_timeout_s: int
    rollback_window_s: int
    undoes: int | None
    state: str
    why: str
    sentence: str
    version: int
    attempt: int
    resumes: str | None
    step: int | None
    step_began_us: int | None
    weight_bp: int
    base_split_id: int | None
    split_id: int | None
    smoke_job_id: int | None
    webhook_job_id: int | None
    webhook_secret: str | None
    notify: str
    exposed_at_us: int | None
    evidence: str
    keep_until_us: int | None
    impact: str | None
    began_at_us: int
    started_at_us: int
    started_by: str
    intent_id: int | None
    moved_at_us: int
    ended_at_us: int | None


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """One rollout. `stable` is None for the first release of a service.

    `version` grows with each move; `attempt` counts the starts, the last of them at `began_at_us`.
    `step` is the position of the step that is under way, None before the first; `resumes` the
    state that a person's pause interrupted. `weight_bp` is the candidate's weight in the split
    `split_id`; at `base_split_id` it had none yet. `exposed_at_us` is when it first got traffic,
    `keep_until_us` until when the release without traffic stays loaded after the end. `undoes` is
    the rollout whose undo this one is. `webhook_job_id` is the job that asks at a step that is a
    webhook; `notify` are the addresses that are notified of pauses and ends, and `webhook_secret`
    refers to the key that signs all messages.
    """

    id: int
    service: str
    revision: int
    strategy: Strategy
    stable: int | None
    candidate: int
    steps: tuple[Step, ...]
    guards: tuple[Guard, ...]
    load_timeout_s: int
    rollback_window_s: int
    undoes: int | None = None
    state: State
    why: Why
    sentence: str
    version: int
    attempt: int = 1
    resumes: State | None = None
    step: int | None = None
    step_began_us: int | None = None
    weight_bp: int = 0
    base_split_id: int | None = None
    split_id: int | None = None
    smoke_job_id: int | None = None
    webhook_job_id: int | None = None
    webhook_secret: str | None = None
    notify: tuple[str, ...] = ()
    exposed_at_us: int | None = None
    keep_until_us: int | None = None
    impact: Impact | None = None
    began_at_us: int
    started_at_us: int
    started_by: str
    intent_id: int | None
    moved_at_us: int
    ended_at_us: int | None = None

    @property
    def phase(self) -> Phase:
        """Its state in one word."""
        return PHASES.get(self.state, Phase.PROGRESSING)

    @property
    def owner(self) -> Owner:
        """As the service names it."""
        return Owner(OwnerKind.ROLLOUT, str(self.id))

    @property
    def current(self) -> Step | None:
        """The step that is under way; None before the first."""
        return None if self.step is None else self.steps[self.step]

    @property
    def mirror(self) -> Mirror | None:
        """The step by which the candidate gets copies of requests now; None while it gets none."""
        step = self.current
        if isinstance(step, Mirror) and self.state in {State.STEPPING, State.PAUSED}:
            return step
        return None

    @property
    def watched(self) -> bool:
        """Whether the candidate is held to the guards: it gets requests, or copies of them."""
        return bool(self.weight_bp) or self.mirror is not None

    @property
    def load_deadline_us(self) -> int:
        """When the candidate has to be able to answer."""
        return self.began_at_us + self.load_timeout_s * 1_000_000


def record(row: RolloutRow) -> Rollout:
    """The rollout of its row."""
    values = {name: getattr(row, name) for name in Rollout.__struct_fields__}
    values |= {
        "steps": msgspec.json.decode(row.steps),
        "guards": msgspec.json.decode(row.guards),
        "notify": msgspec.json.decode(row.notify),
        "impact": None if row.impact is None else msgspec.json.decode(row.impact),
    }
    return msgspec.convert(values, Rollout)


KEPT: Final = guided_changes.Kept(RolloutRow, "rollout", "paddock rollouts list", record)
find = KEPT.find
latest = KEPT.latest
tail = KEPT.tail


async def to_do(s: AsyncSession) -> list[Rollout]:
    """The rollouts that are under way, keep a release loaded, or have to be counted again."""
    under_way = or_(
        col(RolloutRow.ended_at_us).is_(None),
        col(RolloutRow.keep_until_us) > 0,
        func.json_extract(col(RolloutRow.impact), "$.final") == 0,
    )
    return await KEPT.every(s, select(RolloutRow).where(under_way).order_by(col(RolloutRow.id)))


async def mirroring(s: AsyncSession) -> list[Rollout]:
    """The rollouts whose candidates get copies of requests now."""
    query = select(RolloutRow).where(
        col(RolloutRow.ended_at_us).is_(None), col(RolloutRow.strategy) == Strategy.SHADOW.value
    )
    return [each for each in await KEPT.every(s, query) if each.mirror is not None]


async def of_revision(s: AsyncSession, service: str, revision: int) -> Rollout:
    """The rollout with which a service came to a revision.

    Raises:
        NotFound: it has had no such revision.
    """
    query = select(RolloutRow).where(
        col(RolloutRow.service) == service, col(RolloutRow.revision) == revision
    )
    found = await KEPT.every(s, query)
    if not found:
        raise errors.NotFound(
            f"{service} has no revision {revision}; `paddock rollouts list {service}` shows them."
        )
    return found[0]


async def secrets(s: AsyncSession) -> set[str]:
    """The references to the keys that sign the messages of any rollout: all can be retried."""
    found = await s.scalars(select(col(RolloutRow.webhook_secret)).distinct())
    return {each for each in found if each is not None}


async def undoing(s: AsyncSession, id: int) -> Rollout | None:
    """The newest rollout that was started to undo another one, if there is one."""
    query = select(RolloutRow).where(col(RolloutRow.undoes) == id)
    found = await KEPT.every(s, query.order_by(col(RolloutRow.id).desc()).limit(1))
    return found[0] if found else None
