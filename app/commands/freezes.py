"""`paddock freeze` and `unfreeze`: no change of what answers requests, on the whole box."""

from __future__ import annotations

from app import errors, session
from app.commands import options


async def freeze(
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Freeze the box: splits stay as they are, rollouts wait; going back is always allowed."""
    if not reason.strip():
        raise errors.BadWord("Say why with --reason; refused changes quote it.")
    await _asked("box.freeze", "freeze the whole box", reason, yes=yes, as_json=as_json)


async def unfreeze(
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Allow changes on the box again; a service that was frozen by itself stays frozen."""
    await _asked("box.unfreeze", "unfreeze the box", reason, yes=yes, as_json=as_json)


async def _asked(verb: str, effect: str, reason: str, *, yes: bool, as_json: bool) -> None:
    agreed = session.agreed(verb, "box", effect, reason, yes=yes)
    done = await session.ask(verb, "box", {}, reason=agreed.reason)
    session.report(done, as_json=as_json)
