"""What the endpoints share: the parts of one gateway, made once at its start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.execution.catalog import Catalog
from engine.execution.execute import Executor
from engine.execution.recorder import Recorder
from engine.execution.shadow_copies import ShadowCopies
from engine.gateway.bodies import Bodies
from engine.gateway.http.refusals import Refusals
from engine.gateway.metrics import Metrics
from engine.metering.budgets import Budgets
from engine.metering.windows import Windows
from storage.store import Store


@dataclass(frozen=True, slots=True)
class Context:
    """Clocks: `now_us` is UTC, `monotonic_us` only grows. `new_id` and `new_seed` are random.

    `gateway_id` is random, too, and tells this gateway from others. `rejections` counts requests
    that are answered with an error and not recorded.
    """

    store: Store
    catalog: Catalog
    executor: Executor
    copies: ShadowCopies
    windows: Windows
    recorder: Recorder
    metrics: Metrics
    budgets: Budgets
    bodies: Bodies
    rejections: Refusals
    gateway_id: str
    open_metrics: bool
    allowed_origins: tuple[str, ...]
    now_us: Callable[[], int]
    monotonic_us: Callable[[], int]
    new_id: Callable[[], str]
    new_seed: Callable[[], int]
