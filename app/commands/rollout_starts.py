"""`paddock rollouts start` and `plan`: the options of `app.rollout_options`, done or forecast.

Imported by `app.commands.rollouts`, which holds the commands.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
import typer

from app import rollout_options, rollout_plan, secret_files, session, terminal
from app.commands import options
from app.rollout_options import Typed
from storage import releases, services
from storage.rollout_policies import Policy
from storage.store import Session

app = options.group()

_PLAN_S: Final = 120.0


@app.command()
@options.together
async def start(
    service: options.Service,
    *,
    typed: Typed,
    webhook_secret_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Holds the key that signs the messages; - for stdin."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the steps and guards; change nothing.")
    ] = False,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Start a rollout; by default a canary of 5 %, 50 %, 100 %.

    Between two weights an analysis waits until the guards are shown to hold. A shadow tries the
    candidate on copies of requests first, and waits for a person or continues with --then. A first
    release needs no steps.

    A webhook gets the service, the releases, the next step and the verdicts of the guards as JSON,
    and continues the rollout with 2xx; 4xx pauses or aborts it, and without an answer it pauses.

    Omitted options use the service's rollout policy, which its manifest sets, or the defaults.
    """
    async with session.reading() as s:
        usual = await _policy(s, service)
    arguments = rollout_options.arguments(typed, usual)
    async with session.reading() as s:
        candidate = await releases.find(s, arguments["release"])
    plan = rollout_options.planned(arguments).lines()
    if usual is not None:
        plan = [f"by the rollout policy of {service}, except for the options given", *plan]
    if dry_run:
        terminal.show(arguments, plan, as_json=as_json)
        return
    effect = "\n".join([f"{service}  rollout to {candidate.name}", *plan])
    agreed = session.agreed("rollouts.start", service, effect, reason, yes=yes)
    with secret_files.deposits() as deposits:
        if webhook_secret_file is not None:
            key = deposits.add(webhook_secret_file, "The key of the webhooks")
            arguments["webhook_secret"] = key
        done = await session.ask("rollouts.start", service, arguments, reason=agreed.reason)
        deposits.settle(done)
    session.report(done, as_json=as_json, then=f"`paddock rollouts get {service} -w` follows it.")


@app.command()
@options.together
async def plan(service: options.Service, *, typed: Typed, as_json: options.Json = False) -> None:
    """Forecast a rollout from the service's own traffic.

    Nothing is changed. Each weight is listed with its expected length, the rates of harm that it
    finds and misses in that time (each with a probability of 80 %), and the weakest step. The last
    line says whether the traffic suffices for the whole rollout, and what would. Omitted options
    use the service's rollout policy, which its manifest sets, or the defaults.
    """
    async with session.reading() as s:
        usual = await _policy(s, service)
    arguments = rollout_options.arguments(typed, usual)
    rollout_options.planned(arguments)
    done = await session.ask("rollouts.plan", service, arguments, timeout_s=_PLAN_S)
    if not done.ok or done.intent_id is None:
        session.report(done, as_json=as_json)
        return
    async with session.reading() as s:
        found = await rollout_plan.of_intent(s, done.intent_id)
    terminal.show(msgspec.to_builtins(found), rollout_plan.lines(found), as_json=as_json)


async def _policy(s: Session, service: str) -> Policy | None:
    """The rollout policy that a service has of its manifest."""
    found = await services.look_up(s, service)
    return None if found is None else found.rollout_policy
