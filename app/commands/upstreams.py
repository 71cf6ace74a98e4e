"""`paddock upstreams`: OpenAI-compatible servers that answer for releases.

An API key is read from a file or from standard input, deposited in the data directory, and never
printed; what travels to the node is the reference to it.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
import typer

from app import listing, moments, secret_files, session, terminal, words
from app.commands import options
from app.listing import Column
from storage import upstream_health, upstream_urls, upstreams
from storage.home import secrets
from storage.past import upstreams as past_upstreams
from storage.upstream_health import Health
from storage.upstreams import Upstream

app = options.group()

Name = Annotated[str, typer.Argument(metavar="NAME", help="As `paddock upstreams list` names it.")]

_SECOND_US: Final = 1_000_000


@app.command()
async def add(  # noqa: PLR0917 the command line passes every option by name
    name: Name,
    url: Annotated[
        str, typer.Argument(metavar="URL", help="Base address, as in http://127.0.0.1:8000/v1.")
    ],
    key_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="Holds the API key; - for standard input.")
    ] = None,
    max_connections: Annotated[
        int, typer.Option(min=1, help="Requests at a time; others queue.")
    ] = upstreams.MAX_CONNECTIONS,
    connect_s: Annotated[
        float, typer.Option(min=0.001, help="Seconds to establish a connection.")
    ] = upstreams.CONNECT_US / _SECOND_US,
    first_event_s: Annotated[
        float, typer.Option(min=0.001, help="Seconds to the first token.")
    ] = upstreams.FIRST_EVENT_US / _SECOND_US,
    read_s: Annotated[
        float, typer.Option(min=0.001, help="Seconds of silence between tokens.")
    ] = upstreams.READ_US / _SECOND_US,
    health_path: Annotated[
        str, typer.Option(help="Below URL, or on its host when it begins with /.")
    ] = upstreams.HEALTH_PATH,
    metrics_path: Annotated[
        str | None, typer.Option(help="Prometheus metrics of vLLM or llama-server: /metrics.")
    ] = None,
    extensions: Annotated[
        bool,
        typer.Option(
            "--extensions/--openai-only",
            help="Whether it takes top_k and min_p, which OpenAI's API does not have.",
        ),
    ] = True,
    scores: Annotated[
        bool | None,
        typer.Option("--scores/--no-scores", help="Whether it scores; probed when omitted."),
    ] = None,
    reason: options.Reason = "",
    as_json: options.Json = False,
) -> None:
    """Register a server. It may be vLLM, llama-server, a cloud endpoint or another Paddock."""
    arguments: dict[str, object] = {
        "url": url,
        "max_connections": max_connections,
        "connect_s": connect_s,
        "first_event_s": first_event_s,
        "read_s": read_s,
        "health_path": health_path,
        "metrics_path": metrics_path,
        "extensions": extensions,
        "scores": scores,
    }
    upstream_urls.normalised(url)
    with secret_files.deposits() as deposits:
        if key_file is not None:
            arguments["secret"] = deposits.add(key_file, "The API key")
        done = await session.ask("upstreams.add", name, arguments, reason=reason)
        deposits.settle(done)
    session.report(done, as_json=as_json)


@app.command()
async def rekey(
    name: Name,
    key_file: Annotated[
        str, typer.Option(metavar="FILE", help="Holds the new API key; - for standard input.")
    ],
    reason: options.Reason = "",
    as_json: options.Json = False,
) -> None:
    """Replace the API key; the upstream stays in its splits."""
    async with session.reading() as s:
        known = await upstreams.find(s, name)
    with secret_files.deposits() as deposits:
        new = {"secret": deposits.add(key_file, "The API key")}
        done = await session.ask("upstreams.rekey", name, new, reason=reason)
        deposits.settle(done)
    if done.ok:
        secret_files.withdraw(known.secret)
    session.report(done, as_json=as_json)


@app.command()
async def remove(
    name: Name,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Remove a server that no split needs any more."""
    async with session.reading() as s:
        known = await upstreams.find(s, name)
    effect = f"Upstream {name} ({known.url})  registered → removed"
    agreed = session.agreed("upstreams.remove", name, effect, reason, yes=yes)
    done = await session.ask("upstreams.remove", name, reason=agreed.reason)
    if done.ok and known.secret is not None:
        secrets.discard(session.home(), known.secret)
    session.report(done, as_json=as_json)


@app.command("list")
async def every(at: options.At = None, as_json: options.Json = False) -> None:
    """List the upstreams. --at leaves out their health."""
    at_us = moments.at(at)
    async with session.reading() as s:
        known = await (upstreams.every(s) if at_us is None else past_upstreams.every(s, at_us))
        health = await upstream_health.every(s) if at_us is None else {}
    columns: tuple[Column[Upstream], ...] = (
        Column("UPSTREAM", lambda upstream: upstream.name),
        Column("URL", lambda upstream: upstream.url),
        Column("KEY", lambda upstream: _yes(upstream.secret is not None)),
        Column("CONNECTIONS", lambda upstream: words.count(upstream.max_connections), right=True),
        Column("METRICS", lambda upstream: words.known(upstream.metrics_path)),
        Column("ADDED", lambda upstream: words.clock(upstream.created_at_us)),
        Column("HEALTH", lambda upstream: _health(health.get(upstream.name))),
    )
    document = [_shown(upstream, health.get(upstream.name)) for upstream in known]
    listing.show(columns, known, as_json=as_json, document=document)


@app.command()
async def show(name: Name, at: options.At = None, as_json: options.Json = False) -> None:
    """Show an upstream. --at leaves out its health."""
    at_us = moments.at(at)
    async with session.reading() as s:
        if at_us is None:
            upstream = await upstreams.find(s, name)
            health = (await upstream_health.every(s)).get(name)
        else:
            upstream, health = await past_upstreams.find(s, name, at_us), None
    rows = [
        ("name", upstream.name),
        ("url", upstream.url),
        ("health", _health(health)),
        ("key", _yes(upstream.secret is not None)),
        ("connections", words.count(upstream.max_connections)),
        ("connect timeout", words.duration(upstream.connect_timeout_us)),
        ("first event timeout", words.duration(upstream.first_event_timeout_us)),
        ("read timeout", words.duration(upstream.read_timeout_us)),
        ("health check", upstreams.address(upstream, upstream.health_path)),
        (
            "metrics",
            words.UNKNOWN
            if upstream.metrics_path is None
            else upstreams.address(upstream, upstream.metrics_path),
        ),
        ("top_k, min_p", "sent" if upstream.extensions else "not sent"),
        ("scores", "probed" if upstream.scores is None else _yes(upstream.scores)),
        ("added", f"{words.clock(upstream.created_at_us)} by {upstream.created_by}"),
    ]
    terminal.show(_shown(upstream, health), words.table(rows), as_json=as_json)


def _shown(upstream: Upstream, health: Health | None) -> dict[str, object]:
    """As JSON shows it: whether there is a key, not where."""
    shown: dict[str, object] = msgspec.to_builtins(upstream)
    shown["has_key"] = shown.pop("secret") is not None
    shown["health"] = msgspec.to_builtins(health)
    return shown


def _health(health: Health | None) -> str:
    """As the gateway found it last; unknown while no gateway has run since it was added."""
    if health is None:
        return words.UNKNOWN
    since = words.clock(health.since_us)
    return f"ok since {since}" if health.reason is None else f"down since {since}: {health.reason}"


def _yes(value: bool) -> str:
    return "yes" if value else "no"
