"""The latest fact of one supervised process, passed on whenever it changes.

Imported by `engine.node.supervised`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Final

from engine.node.specs import Evidence, Fact, LoadFailure, Spec

_MOMENTARY: Final[Mapping[str, None]] = dict.fromkeys(
    ("load_failure", "death", "silent_us", "backoff_us")
)
"""Fields that hold for one report only."""


class Facts:
    """Keeps the latest fact; `tell` receives each one."""

    def __init__(self, spec: Spec, tell: Callable[[Fact], None]) -> None:
        self.latest = Fact(
            spec.name, spec.kind, "stopped", deployment=spec.deployment, model=spec.model
        )
        self._tell = tell

    def report(self, state: str, reason: str | None, **fields: object) -> None:
        """Report a state; other fields keep their values, except those of one report only."""
        self.latest = dataclasses.replace(
            self.latest,
            state=state,
            reason=reason,
            **{**_MOMENTARY, **fields},  # type: ignore[arg-type]
        )
        self._tell(self.latest)

    def report_loaded(self, loaded: Evidence) -> None:
        """Report what is in memory, if that has changed."""
        if loaded != self.latest.loaded:
            self.latest = dataclasses.replace(self.latest, loaded=loaded)
            self._tell(self.latest)

    def report_failure(self, failure: LoadFailure) -> None:
        """Report that an adapter cannot be loaded, once."""
        self._tell(dataclasses.replace(self.latest, load_failure=failure))
