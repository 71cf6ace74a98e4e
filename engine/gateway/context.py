"""What the routes share: the parts of one gateway, made once at its start. Imported by them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.backends.fleet import Fleet
from engine.execution.catalog import Catalogue
from engine.execution.recorder import Recorder
from engine.gateway.metrics import Metrics
from engine.metering.windows import Windows
from storage.store import Store


@dataclass(frozen=True, slots=True)
class State:
    """Clocks: `now_us` is UTC, `monotonic_us` only grows. `new_id` and `new_seed` are random."""

    store: Store
    catalogue: Catalogue
    fleet: Fleet
    windows: Windows
    recorder: Recorder
    metrics: Metrics
    body_limit: int
    open_metrics: bool
    now_us: Callable[[], int]
    monotonic_us: Callable[[], int]
    new_id: Callable[[], str]
    new_seed: Callable[[], int]
