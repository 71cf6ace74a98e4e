"""What a walk sees: the values of its probes, and whether a verify is met in time.

Reads only. Imported by `runbooks.walk`.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from runbooks import actions, conditions, steps, values
from runbooks.probes import PROBES
from runbooks.steps import Look, Step, Verify
from runbooks.values import Value
from runbooks.walk.box import Box
from runbooks.walk.endings import Aborted, Failed
from storage import run_steps
from storage.runs import Run
from storage.store import Session

_VERIFY_S: Final = 1.0


class Sight:
    """What one run sees. `aborting` is set to end a wait early."""

    def __init__(self, box: Box, run: Run, aborting: asyncio.Event) -> None:
        self._box = box
        self._run = run
        self._aborting = aborting

    def heed(self) -> None:
        """End the walk if a person asked for that.

        Raises:
            Aborted: a person did.
        """
        if self._aborting.is_set():
            raise Aborted

    async def first(self, step: Step) -> dict[str, Any]:
        """What a step sees before it acts, and the version of what it changes, in one snapshot."""

        async def look(s: Session) -> dict[str, Any]:
            seen: dict[str, Any] = {}
            if (looked := step.look) is not None:
                value = await self.probe(s, looked)
                good = values.as_expected(value, self.wanted(looked))
                seen |= {"looked": value, "as_expected": good}
            if step.verify is not None:
                seen["before"] = await self.probe(s, step.verify)
            if step.do is not None:
                seen["expected_version"] = await actions.version(s, self._run, step.do)
            return seen

        return await self._box.read(look)

    async def verified(self, verify: Verify, looked: Value) -> tuple[bool, str, Value]:
        """Whether the fact came in time; what was found, in words and as a value.

        Raises:
            Aborted: a person ended the run while it waited.
        """
        until = time.monotonic() + verify.timeout_s
        wanted = self.wanted(verify)
        shown = looked if wanted == steps.LOOKED else wanted
        while True:
            found = await self._box.read(lambda s: self.probe(s, verify))
            if values.as_expected(found, wanted, looked):
                return True, f"{verify.probe} is {found} (expected {shown})", found
            self.heed()
            left = until - time.monotonic()
            if left <= 0:
                said = f"{verify.probe} is {found} after {verify.timeout_s:g} s (expected {shown})"
                return False, said, found
            await self._box.news(min(left, _VERIFY_S))

    async def same(self, look: Look, looked: Value) -> None:
        """Prove that what a person agreed to change has not changed since.

        Raises:
            Failed: it has.
        """
        now = await self._box.read(lambda s: self.probe(s, look))
        if now != looked:
            raise Failed(
                f"{look.probe} changed since the step looked: it is {values.shown(now)}, not "
                f"{values.shown(looked)}"
            )

    async def probe(self, s: Session, look: Look | Verify) -> Value:
        """What a look sees now."""
        of = values.filled(look.of, self._run.inputs)
        return await PROBES[look.probe](s, of, look.window_s, self._second())

    def wanted(self, look: Look | Verify) -> str | None:
        """What is expected, filled in."""
        if look.expected is None:
            return None
        return values.filled(look.expected, self._run.inputs)

    def facts(
        self, step: Step, known: run_steps.Step, *, verified: bool | None = None
    ) -> conditions.Facts:
        """What the conditions of a step are decided by."""
        return conditions.Facts(
            step=step, inputs=self._run.inputs, looked=known.looked,
            as_expected=known.as_expected, verified=verified, probes=PROBES,
            second=self._second(),
        )  # fmt: skip

    def _second(self) -> int:
        return self._box.now_us() // 1_000_000
