"""`paddock rollouts pause`, `promote`, `abort`, `retry`, `undo`: lead the newest one by hand.

Imported by `app.commands.rollouts`, which holds the commands.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from app import session
from app.commands import options
from storage import rollouts
from storage.errors import NotFound
from storage.rollouts import Rollout
from storage.store import Session

app = options.group()


@app.command()
async def pause(
    service: options.Service,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Pause before the next step. Weights stay, and harm still aborts."""
    effect = "pause before the next step"
    await _ask("rollouts.pause", service, effect, {}, reason, yes=yes, as_json=as_json)


@app.command()
async def promote(
    service: options.Service,
    full: Annotated[
        bool, typer.Option("--full", help="Skip all steps: all traffic to the candidate.")
    ] = False,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Continue: from a pause, or past the step that is under way."""
    effect = "all traffic to the candidate, without further steps" if full else "continue"
    await _ask(
        "rollouts.promote", service, effect, {"full": full}, reason, yes=yes, as_json=as_json,
        versioned=True,
    )  # fmt: skip


@app.command()
async def abort(
    service: options.Service,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Send all traffic back to the stable release. The candidate stays loaded for a while."""
    effect = "all traffic back to the stable release"
    await _ask("rollouts.abort", service, effect, {}, reason, yes=yes, as_json=as_json)


@app.command()
async def retry(
    service: options.Service,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Start the newest rollout again, if it was aborted. It begins at its first step."""
    effect = "begin again from the first step"
    await _ask("rollouts.retry", service, effect, {}, reason, yes=yes, as_json=as_json)


@app.command()
async def undo(
    service: options.Service,
    to_revision: Annotated[
        int | None,
        typer.Option("--to-revision", metavar="N", min=0, help="As `list` numbers them."),
    ] = None,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Go back to the release before the newest rollout.

    The traffic moves at once while that release is loaded. Undoing twice goes back once. Revision
    0 is the release before the first rollout.
    """
    if to_revision is None:
        effect = "back to the release before it"
        await _ask("rollouts.undo", service, effect, {}, reason, yes=yes, as_json=as_json)
        return
    effect = f"{service}  back to revision {to_revision}"
    arguments = {"to_revision": to_revision}
    await session.act("rollouts.undo", service, arguments, effect, reason, yes=yes, as_json=as_json)


async def newest(s: Session, service: str) -> Rollout:
    """The newest rollout of a service.

    Raises:
        NotFound: it has had none.
    """
    found = await rollouts.latest(s, service)
    if found is None:
        raise NotFound(
            f"{service} has had no rollout; start one with `paddock rollouts start {service}`."
        )
    return found


async def _ask(
    verb: str,
    service: str,
    effect: str,
    more: Mapping[str, object],
    reason: str,
    *,
    yes: bool,
    as_json: bool,
    versioned: bool = False,
) -> None:
    async with session.reading() as s:
        rollout = await newest(s, service)
    known = f"{service}  rollout {rollout.id} (r{rollout.candidate}, {rollout.state.value})"
    await session.act(
        verb,
        service,
        {"rollout": rollout.id, **more},
        f"{known}  {effect}",
        reason,
        yes=yes,
        as_json=as_json,
        expected_version=rollout.version if versioned else None,
    )
