"""`paddock status`: the first look on call, the pulse of the screen as text.

While the node is down it shows what the store knows, says so, and exits with code 3. While the
store cannot be read it shows what the running node says of itself.
"""

from __future__ import annotations

import typer

from app import (
    moments,
    node_client,
    node_facts,
    reader,
    session,
    snapshot,
    status_document,
    status_lines,
    terminal,
)
from app.commands import options
from app.snapshot import Query
from storage import errors
from storage.home import clock, config
from storage.home.paths import Home

_DOWN = 3
_ANSWER_S = 5.0  # looked at once, so a busy box gets more time than on the screen


def status(at: options.At = None, as_json: options.Json = False) -> None:
    """Show what the box is doing now, or was doing at a past moment."""
    at_us = moments.at(at)
    if at_us is None:
        raise typer.Exit(show(as_json=as_json))
    raise typer.Exit(terminal.run(print_then(at_us, as_json=as_json)))


def show(*, as_json: bool) -> int:
    """Print the status; the exit code says whether the node runs."""
    return terminal.run(print_now(as_json=as_json))


async def print_then(at_us: int, *, as_json: bool) -> int:
    """Print what the store knows of a past moment; always 0, as the present is not judged."""
    home = session.home()
    async with session.store() as store:
        source = reader.Reader(home, store, now_us=clock.now_us)
        try:
            current = await source.read(Query(place="pulse", at_us=at_us))
        finally:
            await source.close()
    if current.pulse is None:
        raise errors.NotFound(current.header.error)
    _print(current.header, current.pulse, home, "", as_json=as_json)
    return 0


async def print_now(*, as_json: bool) -> int:
    """The same inside a running loop."""
    home = session.home()
    try:
        async with session.store() as store:
            source = reader.Reader(home, store, now_us=clock.now_us, answer_s=_ANSWER_S)
            try:
                await source.ask()
                current = await source.read(Query(place="pulse"))
            finally:
                await source.close()
            gateway = source.liveness.answers.url
    except errors.Unavailable as error:
        known = await node_facts.without_store(home, str(error), clock.now_us())
        if known is None:
            raise
        current, gateway = known, node_client.url(home, config.readable(home)[0].gateway)
    header, pulse = current.header, current.pulse
    assert pulse is not None  # noqa: S101 it is what was asked for
    _print(header, pulse, home, gateway, as_json=as_json)
    return 0 if header.node is snapshot.Node.UP else _DOWN


def _print(
    header: snapshot.Header, pulse: snapshot.Pulse, home: Home, gateway: str, *, as_json: bool
) -> None:
    if as_json:
        document = status_document.of(
            header,
            pulse,
            home=str(home.root),
            gateway=gateway,
            problems=tuple(each.sentence for each in header.troubles),
        )
        terminal.show(document, (), as_json=True)
    else:
        terminal.say("\n".join(status_lines.lines(header, pulse, home, gateway)))
