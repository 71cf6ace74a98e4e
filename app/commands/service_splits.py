"""`paddock services split` and `undo`: the weights of a service's arms, set or gone back to.

Imported by `app.commands.services`, which holds the commands.
"""

from __future__ import annotations

from typing import Annotated

import typer

from app import (
    actions,
    errors,
    session,
    split_effect,
    split_input,
)
from app.commands import options
from app.figures import arms as arm_figures
from storage import availability, releases, services, splits
from storage.services import Service
from storage.splits import Split

app = options.group()

Name = Annotated[str, typer.Argument(metavar="NAME", help="The service, as clients call it.")]


@app.command()
async def split(
    name: Name,
    arms: Annotated[list[str], typer.Argument(metavar="RELEASE=PERCENT...", help="r1=90 r2=10")],
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Set the weights of a service's arms; they add up to 100."""
    weights = split_input.parse(arms)
    await _split(name, weights, reason=reason, yes=yes, as_json=as_json)


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
    effect = await _effect(service, after)
    done = await _agreed("services.split", service, effect, {"arms": arms}, reason=reason, yes=yes)
    session.report(done, as_json=as_json)


@app.command()
async def undo(
    name: Name,
    to: Annotated[
        int | None,
        typer.Option("--to", metavar="SPLIT", min=1, help="As `services show` numbers the splits."),
    ] = None,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Go back to the split before the current one.

    --to names another split. Undoing twice changes nothing the second time.
    """
    async with session.reading() as s:
        service = await services.find(s, name)
        target = to or splits.roll_back_target(await services.history(s, name, limit=2))
        if target is None:
            raise errors.AppError(f"{name} has had only one split; there is nothing to undo.")
        split = await services.find_split(s, name, target)
    effect = await _effect(service, _weights(split))
    arguments: dict[str, object] = {"to": target}
    done = await _agreed("services.undo", service, effect, arguments, reason=reason, yes=yes)
    session.report(done, as_json=as_json)


async def _agreed(
    verb: str,
    service: Service,
    effect: str,
    arguments: dict[str, object],
    *,
    reason: str,
    yes: bool,
) -> actions.Done:
    agreed = session.agreed(verb, service.name, effect, reason, yes=yes)
    return await session.ask(
        verb,
        service.name,
        arguments,
        reason=agreed.reason,
        expected_version=service.version,
        confirm=agreed.confirm,
    )


async def _effect(service: Service, after: dict[int, int]) -> str:
    """What changes, and which of the arms that get more do not answer yet.

    Raises:
        errors.AppError: one of them cannot answer, so control would refuse it.
    """
    before = _weights(service.split)
    async with session.reading() as s:
        waits = arm_figures.waits(await availability.every(s, list(after)))
    if why := split_effect.refusal(waits, before, after):
        raise errors.AppError(f"{why}.")
    cautions = split_effect.cautions(waits, before, after)
    return "\n".join([splits.change(service.name, before, after), *cautions])


def _weights(split: Split) -> dict[int, int]:
    return dict(splits.pairs(split.arms))
