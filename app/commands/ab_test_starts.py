"""`paddock ab-tests start`: arms, goals and guards as they are typed.

Imported by `app.commands.ab_tests`.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer

from app import errors, session, split_input
from app.commands import options
from storage import ab_test_goals, releases, rollout_syntax, services
from storage.errors import Invalid

app = options.group()


@app.command()
async def start(
    service: options.Service,
    arms: Annotated[
        list[str],
        typer.Option(
            "--arm",
            metavar="RELEASE=PERCENT",
            help="r1=50; the one that has the traffic now is the control.",
        ),
    ],
    goals: Annotated[
        list[str],
        typer.Option(
            "--goal",
            metavar="METRIC[:up|down][:LEAST]",
            help="thumbs_up:5%, latency:100ms, answer_tokens:10; the first decides.",
        ),
    ],
    guards: Annotated[
        list[str] | None,
        typer.Option(
            "--guard",
            help="error_rate<=1% by default; wrong<=5%, finished>=95%; repeatable.",
        ),
    ] = None,
    least_units: Annotated[
        int, typer.Option("--least-units", min=20, help="In each arm before a conclusion.")
    ] = 200,
    at_most: Annotated[
        str, typer.Option("--at-most", metavar="TIME", help="How long it may run: 12h, 14d.")
    ] = "14d",
    load_timeout: Annotated[
        str, typer.Option("--load-timeout", metavar="TIME", help="How long the arms may load.")
    ] = "30m",
    promote: Annotated[
        str | None,
        typer.Option("--promote", metavar="winner", help="Give a winner all of the traffic."),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option("--label", help="With --promote winner: the label its prompt then has."),
    ] = None,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Start an A/B test between the arms of a service.

    Users are assigned to the arms anew and keep their arm. A user counts once, by the first answer
    or the first rating. The test ends with a winner, without a difference that matters, or
    inconclusive; then the control has all of the traffic again unless --promote winner is given.
    """  # fmt: skip
    if promote not in {None, "winner"}:
        raise errors.BadWord("--promote takes one word: winner.")
    if label is not None and promote is None:
        raise errors.BadWord("--label needs a promotion; add --promote winner.")
    weights = split_input.parse(arms)
    arguments: dict[str, Any] = {"least_units": least_units, "promotes": promote is not None}
    try:
        parsed = tuple(ab_test_goals.parse(each) for each in goals)
        ab_test_goals.check(parsed)
        arguments["goals"] = msgspec.to_builtins(parsed)
        if guards:
            held = tuple(rollout_syntax.parse_guard(each) for each in guards)
            arguments["guards"] = msgspec.to_builtins(held)
        arguments["at_most_s"] = rollout_syntax.parse_duration(at_most)
        arguments["load_timeout_s"] = rollout_syntax.parse_duration(load_timeout)
    except Invalid as error:
        raise errors.BadWord(str(error)) from error
    if label is not None:
        arguments["label"] = label
    async with session.reading() as s:
        found = await services.find(s, service)
        named = {(await releases.find(s, arm)).name: each for arm, each in weights.items()}
    arguments["arms"] = named
    shown = ", ".join(f"{name} {each / 100:g} %" for name, each in named.items())
    effect = f"{service}  A/B test of {shown}; users are assigned anew"
    agreed = session.agreed("ab_tests.start", service, effect, reason, yes=yes)
    done = await session.ask(
        "ab_tests.start", service, arguments, reason=agreed.reason,
        expected_version=found.version,
    )  # fmt: skip
    session.report(done, as_json=as_json, then=f"`paddock ab-tests show {service}` follows it.")
