"""`paddock rollouts start` and `plan`: the same options, once carried out and once forecast.

Imported by `app.commands.rollouts`, which holds the commands.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from app import rollout_options, rollout_plan, secret_files, session, terminal
from app.commands import options
from app.commands.rollout_leads import Service
from storage import releases, services
from storage.rollout_policies import Policy
from storage.rollout_steps import Strategy
from storage.store import Session

app = options.group()

_PLAN_S: Final = 120.0

To = Annotated[str | None, typer.Option("--to", help="The candidate: r2")]
Strategy_ = Annotated[Strategy | None, typer.Option("--strategy", help="canary by default.")]
Steps = Annotated[
    str | None,
    typer.Option(
        "--steps",
        help="'5, 50, 100': percent, pause [10m], analysis [30m], mirror 10%, webhook URL.",
    ),
]
_ASKED: Final = "Ask this webhook {} each weight: 'https://host/path [10m] [abort]'."
AskBefore = Annotated[
    str | None, typer.Option("--ask-before", metavar="URL", help=_ASKED.format("before"))
]
AskAfter = Annotated[
    str | None, typer.Option("--ask-after", metavar="URL", help=_ASKED.format("after"))
]
Then = Annotated[
    Strategy | None,
    typer.Option("--then", help="What a shadow continues as once it has passed: canary."),
]
Guards = Annotated[
    list[str] | None,
    typer.Option(
        "--guard",
        help="latency_p95<=2s, error_rate<=1%, finished>=95%, agreement>=80%; repeatable.",
    ),
]
File = Annotated[
    Path | None, typer.Option("--file", "-f", help="TOML with the same names; options win.")
]


@app.command()
async def start(
    service: Service,
    *,
    to: To = None,
    strategy: Strategy_ = None,
    steps: Steps = None,
    then: Then = None,
    guards: Guards = None,
    ask_before: AskBefore = None,
    ask_after: AskAfter = None,
    notify: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="Send a message at each pause and end; repeatable."),
    ] = None,
    webhook_secret_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Holds the key that signs the messages; - for stdin."),
    ] = None,
    file: File = None,
    load_timeout: Annotated[
        str | None, typer.Option("--load-timeout", help="How long it may load: 30m.")
    ] = None,
    rollback_window: Annotated[
        str | None,
        typer.Option("--rollback-window", help="How long the way back stays loaded: 1h."),
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
    arguments = rollout_options.arguments(
        file, to=to, strategy=strategy, steps=steps, then=then, guards=guards,
        ask_before=ask_before, ask_after=ask_after, notify=notify,
        load_timeout=load_timeout, rollback_window=rollback_window, usual=usual,
    )  # fmt: skip
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
async def plan(
    service: Service,
    *,
    to: To = None,
    strategy: Strategy_ = None,
    steps: Steps = None,
    then: Then = None,
    guards: Guards = None,
    ask_before: AskBefore = None,
    ask_after: AskAfter = None,
    file: File = None,
    as_json: options.Json = False,
) -> None:
    """Forecast a rollout from the service's own traffic.

    Nothing is changed. Each weight is listed with its expected length, the rates of harm that it
    finds and misses in that time (each with a probability of 80 %), and the weakest step. The last
    line says whether the traffic suffices for the whole rollout, and what would. Omitted options
    use the service's rollout policy, which its manifest sets, or the defaults.
    """
    async with session.reading() as s:
        usual = await _policy(s, service)
    arguments = rollout_options.arguments(
        file, to=to, strategy=strategy, steps=steps, then=then, guards=guards,
        ask_before=ask_before, ask_after=ask_after, usual=usual,
    )  # fmt: skip
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
