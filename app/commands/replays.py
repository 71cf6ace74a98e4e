"""`paddock releases replays`, and the commands that ask recorded requests again.

`requests replay`, `releases replay` and `releases bisect` are made here and held by the groups of
`app.commands.requests` and `app.commands.releases`.
"""

from __future__ import annotations

from typing import Annotated, Final

import typer

from app import actions, errors, listing, moments, session, terminal, words
from app.commands import options
from app.figures import replays as figures
from app.listing import Column
from storage import replay_items, replays, rollout_syntax
from storage.past import replays as past_replays
from storage.replays import Replay
from storage.store import Store

app = options.group()

_SOON_S: Final = 0.0


async def request(
    id: Annotated[
        str, typer.Argument(metavar="REQUEST", help="As the answer names it, or its beginning.")
    ],
    on: Annotated[str, typer.Option("--on", metavar="RELEASE", help="r2")],
    reason: options.Reason = "",
    as_json: options.Json = False,
) -> None:
    """Repeat a recorded request on a release.

    With its seed; both answers are compared. It runs in the background, in no service's figures;
    the release is loaded if necessary.
    """
    await _replay("replays.request", id, {"release": on}, reason, as_json=as_json)


async def sample(
    release: Annotated[str, typer.Argument(metavar="RELEASE", help="r2")],
    service: Annotated[str, typer.Option("--service", help="Whose recorded requests.")],
    sample: Annotated[
        int, typer.Option("--sample", "-n", min=1, max=2_000, help="How many requests.")
    ] = 100,
    since: Annotated[
        str | None, typer.Option("--since", metavar="1h", help="How far back they arrived.")
    ] = None,
    reason: options.Reason = "",
    as_json: options.Json = False,
) -> None:
    """Repeat a sample of recorded requests on a release.

    No user sees its answers. A job does it in the background; ^C stops watching, not the job.
    """
    arguments: dict[str, object] = {"service": service, "sample": sample}
    if since is not None:
        arguments["since_s"] = rollout_syntax.parse_duration(since)
    await _replay("replays.sample", release, arguments, reason, as_json=as_json)


async def bisect(
    service: Annotated[str, typer.Argument(metavar="SERVICE", help="support")],
    id: Annotated[str, typer.Argument(metavar="REQUEST", help="A recorded request.")],
    expect: Annotated[
        str | None, typer.Option("--expect", metavar="TEXT", help="What good answers contain.")
    ] = None,
    differs: Annotated[
        bool, typer.Option("--differs", help="Good answers equal the oldest release's (default).")
    ] = False,
    reason: options.Reason = "",
    as_json: options.Json = False,
) -> None:
    """Find the release that changed an answer. It asks as few releases as it takes."""
    if differs and expect is not None:
        raise typer.BadParameter("--differs does not go with --expect.")
    arguments: dict[str, object] = {"request": id}
    if expect is not None:
        arguments["expect"] = expect
    await _replay("replays.bisect", service, arguments, reason, as_json=as_json)


@app.command("list")
async def every(
    limit: options.Limit = 20, at: options.At = None, as_json: options.Json = False
) -> None:
    """List replays, newest at the bottom. --at lists them as they were then."""
    at_us = moments.at(at)
    async with session.reading() as s:
        if at_us is None:
            found = (await replays.tail(s, limit))[::-1]
            counts = await replay_items.counts(s, [each.id for each in found])
        else:
            found = (await past_replays.tail(s, at_us, limit))[::-1]
            counts = await past_replays.counts(s, [each.id for each in found], at_us)
        work = {each.id: await figures.work(s, each, at_us) for each in found}
    columns: tuple[Column[Replay], ...] = (
        Column("REPLAY", lambda each: str(each.id), right=True),
        Column("KIND", lambda each: each.kind.value),
        Column("SERVICE", lambda each: words.safe(each.service)),
        Column("ON", figures.releases),
        Column("ASKED", lambda each: figures.asked(counts.get(each.id)), right=True),
        Column("JOB", lambda each: figures.job(each, work[each.id])),
        Column("BY", lambda each: each.asked_by),
        Column("AT", lambda each: words.clock(each.asked_at_us)),
        Column("RESULT", lambda each: each.report.sentence if each.report else "", below=True),
    )
    listing.show(columns, found, as_json=as_json, empty="No replays yet.")


@app.command()
async def show(
    number: Annotated[int, typer.Argument(metavar="REPLAY", min=1, help="As the list numbers it.")],
    at: options.At = None,
    as_json: options.Json = False,
) -> None:
    """Show what a replay found. It sets both sides and their differences out."""
    at_us = moments.at(at)
    async with session.store() as store:
        await _show(store, number, at_us, as_json=as_json)


async def _show(store: Store, number: int, at_us: int | None = None, *, as_json: bool) -> None:
    async with store.read() as s:
        replay, items, job = await figures.whole(s, number, at_us)
    document = {"replay": replay, "items": items}
    terminal.show(document, figures.lines(replay, items, job), as_json=as_json)


async def _replay(
    verb: str, target: str, arguments: dict[str, object], reason: str, *, as_json: bool
) -> None:
    """Have a job do it, follow it, and show what came out."""
    async with session.store() as store:
        wanted = actions.Wanted(target=target, arguments=arguments, reason=reason)
        done = await actions.perform(
            session.home(), store, actions.TABLE[verb], wanted, timeout_s=_SOON_S
        )
        if done.waits and done.intent_id is not None:
            done = await session.followed(store, done.intent_id, quiet=as_json)
        if not done.ok:
            session.report(done, as_json=as_json)
        async with store.read() as s:
            replay = await replays.of_intent(s, done.intent_id or 0)
        if replay is None:
            raise errors.AppError(done.sentence)
        await _show(store, replay.id, as_json=as_json)
