"""What a kind of job is: named steps, run one after the other, each with a stored result.

A kind is a module with `KIND = kinds.Kind(...)`, named in `MODULES`. A step takes a `Context`
and returns its result, which has to fit into JSON, or a function of a store session, which is
run in the transaction that records the step as done. A step may run again after a crash, until
its result is recorded. The result of the last step is the sentence that ends the job. Imported by
`engine.jobs`.
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

MODULES: Final[Mapping[str, str]] = {"add_model": "engine.jobs.add_model"}
"""The module of each kind; read when a job of it runs, because it may load large libraries."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step: `name` is what a resumed job knows it by."""

    name: str
    run: Run


@dataclass(frozen=True, slots=True)
class Kind:
    """The steps of a kind, in their order."""

    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        """Refuse what could not be resumed by name."""
        names = [step.name for step in self.steps]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"the steps of a job need names of their own: {names}")


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
