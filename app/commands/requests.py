"""`paddock requests`: the tail of what was asked, and one request in full."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Annotated, Final

import typer

from app import errors, moments, session, terminal, words
from app.commands import options, replays
from storage import requests, services, spending, texts
from storage.home import config
from storage.past import requests as past_requests
from storage.store import Store

app = options.group()

_PAGE: Final = 500  # requests read at once while following
_WIDTHS: Final = (20, 14, 5, 9, 6, 6, 8, 8, 9, 36)
_HEAD: Final = (
    "AT",
    "SERVICE",
    "ARM",
    "OUTCOME",
    "PROMPT",
    "ANSWER",
    "TTFT",
    "LATENCY",
    "LOAD",
    "REQUEST",
)
_FIGURES: Final = frozenset({4, 5, 6, 7})


@app.command()
async def tail(
    limit: options.Limit = 20,
    service: Annotated[
        str | None, typer.Option("--service", help="Only requests of this service.")
    ] = None,
    outcome: Annotated[
        requests.Outcome | None, typer.Option("--outcome", help="Only requests with this outcome.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print new requests as they are recorded.")
    ] = False,
    at: options.At = None,
    as_json: options.Json = False,
) -> None:
    """List the last requests, newest at the bottom. With --json one object per line."""
    at_us = moments.at(at)
    if at_us is not None and follow:
        raise errors.BadWord("--at shows the past, to which nothing is added; leave --follow out.")
    async with session.store() as store:
        async with store.read() as s:
            seen = await requests.last(s)
            found = await requests.tail(s, limit, service=service, outcome=outcome, until_us=at_us)
            if service is not None and not found:  # one that was removed may have requests
                await services.find(s, service)
        if not as_json:
            terminal.say(_line(_HEAD))
        _say(reversed(found), as_json=as_json)
        while follow:
            await store.wait_changed()
            async for upto, new in _since(store, seen, service, outcome):
                seen = upto
                _say(new, as_json=as_json)


async def _since(
    store: Store, seen: int, service: str | None, outcome: requests.Outcome | None
) -> AsyncIterator[tuple[int, list[requests.Request]]]:
    """What was recorded since, in pages, each with the number up to which nothing is missing."""
    async with store.read() as s:
        until = await requests.last(s)
    while seen < until:
        async with store.read() as s:
            page = await requests.after(s, seen, until, _PAGE, service, outcome)
        seen = page[-1][0] if len(page) == _PAGE else until
        yield seen, [request for _, request in page]


def _say(found: Iterable[requests.Request], *, as_json: bool) -> None:
    for request in found:
        terminal.say(terminal.compact(request) if as_json else _line(_row(request)))


def _tokens(request: requests.Request) -> str:
    cached = f" ({request.cached_tokens} cached)" if request.cached_tokens else ""
    return f"{request.prompt_tokens} prompt{cached}, {request.completion_tokens} answer"


def _row(request: requests.Request) -> tuple[str, ...]:
    return (
        words.clock(request.at_us),
        words.safe(request.service),
        words.UNKNOWN if request.release is None else f"r{request.release}",
        request.outcome.value,
        words.count(request.prompt_tokens),
        words.count(request.completion_tokens),
        words.duration(request.ttft_us),
        words.duration(request.latency_us),
        "synthetic" if request.synthetic else "real",
        request.id,
    )


def _line(cells: tuple[str, ...]) -> str:
    return "  ".join(
        words.pad(cell, _WIDTHS[n], right=n in _FIGURES) for n, cell in enumerate(cells)
    ).rstrip()


@app.command()
async def show(
    id: Annotated[
        str, typer.Argument(metavar="ID", help="As the answer names it, or its beginning.")
    ],
    at: options.At = None,
    as_json: options.Json = False,
) -> None:
    """Show a request: timings, tokens, feedback, recorded text.

    --at leaves out the feedback that came later.
    """
    at_us = moments.at(at)
    async with session.reading() as s:
        if at_us is None:
            request = await requests.beginning(s, id)
            feedback = await requests.feedback_of(s, request.id)
        else:
            request = await past_requests.find(s, id, at_us)
            feedback = await past_requests.feedback_of(s, request.id, at_us)
        text = await requests.text_of(s, request.id)
        price = config.price(session.home())
        cost, currency = await spending.of_request(s, request, price)
    lines = words.table(
        [
            ("request", request.id),
            ("at", words.clock(request.at_us)),
            ("service", f"{words.safe(request.service)}, arm {_row(request)[2]}"),
            ("endpoint", words.safe(request.endpoint)),
            ("asked by", f"{words.safe(request.tenant)}, {_row(request)[8]} load"),
            ("class", request.class_.value + (", streamed" if request.stream else "")),
            ("outcome", request.outcome.value),
            ("finish", words.known(request.finish_reason)),
            ("error", words.known(request.error_code)),
            ("tokens", _tokens(request)),
            ("queue", words.duration(request.queue_us)),
            ("first token", words.duration(request.ttft_us)),
            ("latency", words.duration(request.latency_us)),
            ("worker time", words.duration(request.busy_us)),
            ("worker", request.worker),
            ("cost", words.money(cost, currency)),
            ("seed", words.whole(request.seed)),
        ]
    )
    for given in feedback:
        thumb = "up" if given.score > 0 else "down"
        right = {True: ", correct", False: ", wrong", None: ""}[given.correct]
        said = f": {words.safe(given.comment)}" if given.comment else ""
        lines.append(f"feedback {words.clock(given.at_us)}  {thumb}{right}{said}")
    if text is None:
        lines += ["", "The text of this service's requests is not kept."]
    else:
        lines += ["", "[prompt]", _inset(text.prompt)]
        if (thought := texts.reasoning(text)) is not None:
            lines += ["", "[reasoning]", _inset(thought)]
        lines += ["", "[answer]", _inset(text.completion)]
    everything = {
        "request": request, "feedback": feedback, "text": text, "cost_micro": cost,
        "currency": currency,
    }  # fmt: skip
    terminal.show(everything, lines, as_json=as_json)


def _inset(text: str) -> str:
    """Foreign text, indented, so that no line of it can pass for a heading of ours."""
    return "\n".join(f"  {line}".rstrip(" ") for line in text.split("\n"))


app.command("replay")(replays.request)
