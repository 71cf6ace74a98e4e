"""`paddock services`: create a service, set and undo the split of its traffic."""

from __future__ import annotations

from typing import Annotated

import typer

from app import actions, errors, session, splits, terminal, words
from app.commands import options
from storage import releases, services

app = options.group()

Name = Annotated[str, typer.Argument(metavar="NAME", help="The service, as clients call it.")]


@app.command()
def create(
    name: Name,
    release: Annotated[str, typer.Option("--release", help="The release that answers: r1")],
    record_text: Annotated[
        bool, typer.Option("--record-text", help="Keep prompts and answers, not only figures.")
    ] = False,
    reason: options.Reason = "",
    as_json: options.Json = False,
) -> None:
    """Create a service: the name that clients put into `model`."""
    arguments: dict[str, object] = {"release": release, "record_text": record_text}
    done = terminal.run(session.ask("services.create", name, arguments, reason=reason))
    session.tell(done, as_json=as_json)


@app.command()
def split(
    name: Name,
    arms: Annotated[list[str], typer.Argument(metavar="RELEASE=PERCENT...", help="r1=90 r2=10")],
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Set the weights of a service's arms; they add up to 100."""
    weights = splits.parse(arms)
    terminal.run(_split(name, weights, reason=reason, yes=yes, as_json=as_json))


async def _split(
    name: str, weights: dict[str, int], *, reason: str, yes: bool, as_json: bool
) -> None:
    async with session.reading() as s:
        service = await services.find(s, name)
        numbers = {arm: (await releases.find(s, arm)).number for arm in weights}
    if len(set(numbers.values())) < len(numbers):
        raise errors.BadWord("One release is named twice, by number and by hash; give it once.")
    after = {numbers[arm]: points for arm, points in weights.items()}
    arms = {f"r{release}": points for release, points in after.items()}
    effect = splits.change(name, _weights(service.split), after)
    done = await _agreed("services.split", service, effect, {"arms": arms}, reason=reason, yes=yes)
    session.tell(done, as_json=as_json)


@app.command()
def undo(
    name: Name,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Put back the split that stood before the current one."""
    terminal.run(_undo(name, reason=reason, yes=yes, as_json=as_json))


async def _undo(name: str, *, reason: str, yes: bool, as_json: bool) -> None:
    async with session.reading() as s:
        service = await services.find(s, name)
        past = await services.history(s, name, limit=2)
    effect = f"{name}  → the split before it"  # without one the box says so
    if len(past) > 1:
        effect = splits.change(name, _weights(past[0]), _weights(past[1]))
    done = await _agreed("services.undo", service, effect, {}, reason=reason, yes=yes)
    session.tell(done, as_json=as_json)


async def _agreed(
    verb: str,
    service: services.Service,
    effect: str,
    arguments: dict[str, object],
    *,
    reason: str,
    yes: bool,
) -> actions.Done:
    terminal.confirm(effect, yes=yes)
    return await session.ask(
        verb, service.name, arguments, reason=reason, expected_version=service.version
    )


def _weights(split: services.Split) -> dict[int, int]:
    return {arm.release: arm.weight_bp for arm in split.arms}


@app.command("list")
def every(as_json: options.Json = False) -> None:
    """All services and the splits that are set; `paddock status` has what was measured."""
    terminal.run(_every(as_json=as_json))


async def _every(*, as_json: bool) -> None:
    async with session.reading() as s:
        known = await services.every(s)
    rows = [("SERVICE", "SPLIT", "TEXTS", "SET", "BY")]
    rows += [
        (
            service.name,
            actions.arms(service.split.arms),
            "recorded" if service.record_text else "not kept",
            words.clock(service.split.set_at_us),
            service.split.set_by,
        )
        for service in known
    ]
    terminal.show(known, words.table(rows), as_json=as_json)


@app.command()
def show(name: Name, as_json: options.Json = False) -> None:
    """One service and the history of its splits, newest first."""
    terminal.run(_show(name, as_json=as_json))


async def _show(name: str, *, as_json: bool) -> None:
    async with session.reading() as s:
        service = await services.find(s, name)
        past = await services.history(s, name)
    newest_first = sorted(past, key=lambda split: split.id, reverse=True)
    lines = [
        f"{service.name}  {actions.arms(service.split.arms)}",
        f"texts {'are recorded' if service.record_text else 'are not kept'}",
        f"created {words.clock(service.created_at_us)} by {service.created_by}",
        "",
        *words.table(
            [
                ("SET", "BY", "SPLIT", "INTENT"),
                *(
                    (
                        words.clock(split.set_at_us),
                        split.set_by,
                        actions.arms(split.arms),
                        str(split.intent_id or words.UNKNOWN),
                    )
                    for split in newest_first
                ),
            ]
        ),
    ]
    terminal.show({"service": service, "history": newest_first}, lines, as_json=as_json)
