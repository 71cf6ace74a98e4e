"""Kinds of jobs: named steps, run one after the other, each with a stored result.

A kind is a module with `KIND = kinds.Kind(...)`, listed in `MODULES`. A step takes a `Context` and
returns its result, which must be JSON-serialisable, or an `Effect`, which runs in the transaction
that records the step as done. After a crash a step runs again, unless its result was recorded. The
result of the last step is the outcome of the job, as a sentence. Imported by `engine.jobs`.
"""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from engine.jobs.context import Context
from engine.jobs.errors import Refused
from storage.store import Session

Effect = Callable[[Session], Awaitable[Any]]
"""Changes the store and returns the step's result."""
Run = Callable[[Context], Awaitable[Any]]

MODULES: Final[Mapping[str, str]] = {
    "add_model": "engine.jobs.add_model",
    "call_webhook": "engine.jobs.call_webhook",
    "export_model": "engine.jobs.export_model",
    "free_models": "engine.jobs.free_models",
    "plan_rollout": "engine.jobs.plan_rollout",
    "replay": "engine.jobs.replay",
    "smoke_release": "engine.jobs.smoke_release",
}
"""The module of each kind; imported only in the process of a job, as it may be expensive."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step; a resumed job finds its result by `name`."""

    name: str
    run: Run


@dataclass(frozen=True, slots=True)
class Kind:
    """The steps of a kind, in order."""

    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        """Refuse duplicate names."""
        names = [step.name for step in self.steps]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"the steps of a job need distinct names: {names}")


def find(name: str) -> Kind:
    """The kind of this name.

    Raises:
        Refused: this version of Paddock has no such kind.
    """
    module = MODULES.get(name)
    if module is None:
        raise Refused(f"This version of Paddock has no jobs of the kind {name}.")
    kind = importlib.import_module(module).KIND
    assert isinstance(kind, Kind)  # noqa: S101 tests/engine/jobs holds every module to it
    return kind
