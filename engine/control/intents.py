"""The controller of intents: claims the oldest one, carries it out, and records how it ended.

Claim, change and outcome are one transaction, so that a crash leaves all of them or none. An
intent that takes long becomes a job in that transaction, and the job ends it. Imported by
`engine.control`.
"""

from __future__ import annotations

from typing import Final

import structlog

from engine.control import handlers
from engine.control.decisions import Decision, Reason, Refusal, of
from storage import errors, intents, jobs
from storage import store as stores
from storage.control_socket import verbs
from storage.control_socket.verbs import Process
from storage.intents import Intent, State
from storage.store import Session

BY: Final = Process.CONTROL.value

_STATES: Final = {Reason.UNCHANGED: State.APPLIED, Reason.FAULT: State.FAILED}

_log = structlog.get_logger("control.intents")


class Intents:
    """Carries out, oldest first, the intents whose verbs are control's."""

    name = "intents"

    def __init__(self) -> None:
        self._handlers = handlers.load()

    async def recover(self, s: Session, now_us: int) -> None:
        """Put back what a control that was killed had claimed."""
        if again := await intents.reclaim(s, BY, now_us):
            _log.info("reclaimed", intents=again)

    async def observe(self, s: Session, now_us: int) -> Intent | None:
        """The oldest waiting intent, after its slow checks."""
        del now_us
        intent = await intents.waiting(s, self._handlers.keys())
        if intent is not None:
            await handlers.check_before(s, intent)
        return intent

    def decide(self, observed: Intent | None, now_us: int) -> Decision:
        """Whether an intent waits; how it ends is decided by the handler of its verb."""
        del now_us
        if observed is None:
            return Decision(Reason.IDLE, "No intent waits.")
        return Decision(Reason.WAITING, f"Intent {observed.id} waits.", observed)

    async def act(self, s: Session, decision: Decision, now_us: int) -> None:
        """Claim an intent, carry it out, record its outcome."""
        assert isinstance(decision.plan, Intent)  # noqa: S101 as it was decided
        intent = await intents.claim_one(s, decision.plan.id, by=BY, at_us=now_us)
        outcome = await self._carry_out(s, intent, now_us)
        if outcome.reason is Reason.QUEUED:
            await intents.hand_over(s, intent.id, frm=BY, to=jobs.CLAIMER)
            _log.info("queued", intent=intent.id, verb=intent.verb, target=intent.target)
            return
        refused = State.REFUSED if outcome.plan is None else State.APPLIED
        state = _STATES.get(outcome.reason, refused)
        await intents.end(s, intent.id, state, outcome.sentence, now_us, by=BY)
        _log.info(
            "ended",
            intent=intent.id,
            verb=intent.verb,
            target=intent.target,
            state=state.value,
            reason=outcome.reason.name,
        )

    async def _carry_out(self, s: Session, intent: Intent, now_us: int) -> Decision:
        """Have the verb's handler decide and act; a refusal rolls back what it had begun."""
        handle = self._handlers[intent.verb]
        try:
            arguments = verbs.parse(intent.verb, intent.arguments)
            async with stores.savepoint(s):
                return await handle(s, intent, arguments, now_us)
        except Refusal as refusal:
            return refusal.decision
        except errors.ConstraintViolated as error:
            return _fault(intent, error)
        except errors.StorageError as error:
            decision = of(error)
            if decision is None:
                raise
            return decision
        except Exception as error:  # noqa: BLE001 one intent must not hold up the rest
            return _fault(intent, error)


def _fault(intent: Intent, error: Exception) -> Decision:
    _log.error("a handler failed", intent=intent.id, verb=intent.verb, exc_info=error)
    said = f"{type(error).__name__}: {error}"
    return Decision(Reason.FAULT, f"Control failed ({said}); control.log has the trace.")
