"""`paddock scoring`: how recorded answers do in cheap checks, by arm, and how many are checked."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from app import errors, listing, moments, session, words
from app.commands import options
from app.listing import Column
from storage import online_scores
from storage.home import clock
from storage.online_scores import Rate
from storage.past import scoring as past_scoring

app = options.group()

_HOUR_US: Final = 3_600 * 1_000_000


@app.command()
async def set(
    service: Annotated[str, typer.Argument(metavar="SERVICE", help="Whose answers.")],
    percent: Annotated[float, typer.Argument(metavar="PERCENT", min=0, max=100, help="0 ends it.")],
    reason: options.Reason = "",
    as_json: options.Json = False,
) -> None:
    """Check a share of a service's answers. Its texts must be recorded."""
    arguments = {"share_bp": round(percent * 100)}
    done = await session.ask("scoring.set", service, arguments, reason=reason)
    session.report(done, as_json=as_json)


COLUMNS: Final[tuple[Column[Rate], ...]] = (
    Column("ARM", lambda rate: f"{words.safe(rate.service)}/r{rate.release}"),
    Column("CHECK", lambda rate: rate.scorer),
    Column("SCORED", lambda rate: words.count(rate.scored), right=True),
    Column("PASSED", lambda rate: words.percent(rate.share), right=True),
    Column("95 %", lambda rate: words.share(rate.share, rate.interval), right=True),
)


@app.command()
async def show(
    service: Annotated[str | None, typer.Option("--service", help="Only of this one.")] = None,
    hours: Annotated[int, typer.Option("--hours", min=1, max=24 * 30, help="Back from now.")] = 24,
    at: options.At = None,
    as_json: options.Json = False,
) -> None:
    """Show how many answers passed each check, by arm."""
    at_us = moments.at(at)
    now_us = clock.now_us() if at_us is None else at_us
    async with session.reading() as s:
        scoring = await (online_scores.every(s) if at_us is None else past_scoring.every(s, at_us))
        found = await online_scores.rates(s, now_us - hours * _HOUR_US, now_us, service)
    if service is not None and not found and all(each.service != service for each in scoring):
        raise errors.AppError(
            f"No answer of {service} is scored; `paddock scoring set {service} 10` checks 10 %."
        )
    listing.show(
        COLUMNS, found, as_json=as_json, document={"scoring": scoring, "rates": found},
        empty="No answer was scored; `paddock scoring set SERVICE 10` checks 10 % of them.",
    )  # fmt: skip
