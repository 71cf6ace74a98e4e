"""`paddock measures export`: measurements of any time as CSV, JSON lines or Parquet."""

from __future__ import annotations

import re
from typing import Annotated, Final

import typer

from app import errors, moments, session, terminal, words
from app.commands import options
from app.exports import formats, tables
from app.exports.formats import Format
from app.exports.tables import Range, What
from storage.home import clock, config

app = options.group()

_SECOND_US: Final = 1_000_000
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_STEP: Final = re.compile(r"([1-9][0-9]{0,5})([smhd])")


@app.callback()
def main() -> None:
    """Without it the only verb would be left out of the command."""


@app.command()
async def export(
    what: Annotated[What, typer.Argument(metavar="WHAT", help=", ".join(What))],
    begin: Annotated[
        str, typer.Option("--from", metavar="TIME", help="03:12 (UTC), or 2h for two hours ago.")
    ] = "1h",
    end: Annotated[
        str, typer.Option("--to", metavar="TIME", help="Up to, not including; else now.")
    ] = "0s",
    step: Annotated[
        str, typer.Option("--step", help="Of arms, services and tenants: 10s, 1m, 1h, 1d.")
    ] = "1m",
    service: Annotated[str | None, typer.Option("--service", help="Only of this one.")] = None,
    format: Annotated[
        Format | None,
        typer.Option("--format", help="By default from the file's name.", case_sensitive=False),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--out",
            metavar="FILE",
            help="Written completely or not at all; by default stdout.",
        ),
    ] = None,
) -> None:
    """Write measurements to a file, or print them.

    Samples are by the second, figures by the step, records one by one. Column names end with their
    units: _us (times are UTC since 1970), _s, _bytes, _ratio (0 to 1), _percent, _mw, _c, _micro
    (of the currency). What was not measured is empty. Prompts and answers are never written.
    Seconds are kept for samples_days, requests for requests_days.
    """
    now_us = clock.now_us()
    of = Range(
        begin_s=moments.parse(begin, now_us) // _SECOND_US,
        end_s=moments.parse(end, now_us) // _SECOND_US,
        step_s=_seconds(step),
        service=service,
    )
    if of.begin_s >= of.end_s:
        raise errors.BadWord("The range is empty: --to is not after --from.")
    if service is not None and what in {What.HOST, What.GPU, What.GATEWAY, What.INSTANCE}:
        raise errors.BadWord(f"--service has no meaning for {what}: it is not measured by service.")
    chosen = format or (formats.named(out) if out else None) or Format.CSV
    price = config.price(session.home())
    async with session.store() as store:
        count = await formats.write(
            tables.rows(store, what, of, price), tables.fields(what), chosen, out
        )
    if out is not None:
        terminal.say(f"Wrote {words.counted(count, 'row')} to {out}.")
    elif not count:
        terminal.complain(f"Nothing of {what} was measured in this time.")


def _seconds(typed: str) -> int:
    found = _STEP.fullmatch(typed)
    if found is None:
        raise errors.BadWord(f"{typed!r} is not a step; write 10s, 1m, 1h or 1d.")
    return int(found[1]) * _UNITS[found[2]]
