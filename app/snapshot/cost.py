"""What today cost, beside the budgets and what it will come to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class By(StrEnum):
    """What a row of the bill is of, in the order in which the screen goes through them."""

    SERVICE = "service"
    ARM = "arm"
    TENANT = "tenant"
    KEY = "key"


class Part(StrEnum):
    """What a row of the bill adds up."""

    REQUESTS = "requests"
    IDLE = "idle"  # time and energy that no request used
    TOTAL = "total"


@dataclass(frozen=True, slots=True, kw_only=True)
class CostRow:
    """A row of the bill, in words."""

    part: Part
    name: str
    requests: str
    tokens: str
    cost: str
    kilo: str
    share: str

    @property
    def key(self) -> str:
        """Distinct, also where a service is called idle."""
        return self.name if self.part is Part.REQUESTS else f"={self.part.value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetRow:
    """A budget: how much of it is spent, as a share of one where its limit is not zero."""

    name: str
    spent: str
    limit: str
    share: float | None
    state: str
    alarming: bool
    renewed_at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The bill of the calendar day so far; `notes` say what has no price, and the projection."""

    by: By
    currency: str
    spent: str
    projected: str
    rows: tuple[CostRow, ...]
    budgets: tuple[BudgetRow, ...]
    notes: tuple[str, ...]
