"""From a body to an answer: which release, what the model reads, and what is written down.

The same for chat and text. Imported by the gateway's routes.
"""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from engine.backends.fleet import Member
from engine.execution.calls import Flight
from engine.execution.request_record import Ticket
from engine.gateway import auth, bodies, conversation, errors, openai_format, streaming
from engine.gateway.context import State
from engine.serving import wire
from engine.traffic import routing
from storage.keys import Key
from storage.releases import Release
from storage.requests import Class
from storage.requests import Request as Row
from storage.services import Service

_CHAT: Final = bodies.Reader(bodies.Chat)
_TEXT: Final = bodies.Reader(bodies.Completion)
_CLASSES: Final = list(Class)


async def chat(state: State, request: Request) -> Response:
    """POST /v1/chat/completions."""
    return await _complete(state, request, _CHAT, openai_format.ChatPaper)


async def text(state: State, request: Request) -> Response:
    """POST /v1/completions."""
    return await _complete(state, request, _TEXT, openai_format.TextPaper)


async def _complete(
    state: State, request: Request, reader: bodies.Reader, paper_type: type[openai_format.Paper]
) -> Response:
    arrived_us, at_us = state.monotonic_us(), state.now_us()
    request_id = request.state.id = state.new_id()
    key = await auth.known(request, state.catalogue)
    raw = await auth.body(request, state.body_limit)
    body: bodies.Chat | bodies.Completion = reader.read(raw)
    if body.stream_options is not None and not body.stream:
        raise errors.BadRequest(
            "stream_options is only allowed when stream is true.",
            code="invalid_value",
            param="stream_options",
        )
    klass = auth.klass(request)
    service = await state.catalogue.service(body.model)
    release = await _release(state, request, key, service, body)
    request.state.release = release.name
    prompt = conversation.read(state.catalogue.picture, release, body)
    seed = body.seed if body.seed is not None else release.sampling.seed
    ticket = Ticket(
        id=f"req_{request_id}",
        at_us=at_us,
        arrived_us=arrived_us,
        endpoint=request.url.path,
        service=service.name,
        release=release,
        key=key,
        klass=klass,
        stream=bool(body.stream),
        seed=state.new_seed() if seed is None else seed,
        prompt=conversation.shown(prompt) if service.record_text else None,
    )
    try:
        member = await _member(state, release)
        prompts = conversation.segments(member.template, prompt)
    except (errors.Unavailable, errors.Overloaded, errors.Broken) as problem:
        _note(state, ticket, ticket.refused(problem, state.monotonic_us()), "")
        raise
    submits = [
        wire.Submit(
            id=0,
            adapter=release.adapter,
            prompt=segments,
            sampling=_sampling(body, release, ticket.seed + index),
            max_tokens=_limit(body, release),
            stop=body.stops(),
            class_=_CLASSES.index(klass),
            tenant=key.tenant,
            queue_us=int(release.limits.queue_s * 1e6),
            logprobs=body.alternatives(),
        )
        for segments in prompts
        for index in range(body.n or 1)
    ]
    if len(submits) > bodies.SEQUENCES_LIMIT:
        raise errors.BadRequest(
            f"That is {len(submits)} sequences; a request takes {bodies.SEQUENCES_LIMIT}.",
            code="invalid_value",
            param="n",
        )
    paper = paper_type(
        openai_format.Head(
            id=request_id,
            created=at_us // 1_000_000,
            model=service.name,
            fingerprint=f"fp_{release.sha256[:12]}",
            prompts=len(prompts),
            usage=bool(body.stream_options and body.stream_options.include_usage),
        )
    )
    return await _answer(state, request, ticket, member, submits, paper)


async def _answer(
    state: State,
    request: Request,
    ticket: Ticket,
    member: Member,
    submits: list[wire.Submit],
    paper: openai_format.Paper,
) -> Response:
    flight = Flight(
        member.client,
        choices=len(submits),
        streams=ticket.stream,
        gaps=state.windows.arm(ticket.service, ticket.release.number).gaps,
        now_us=state.monotonic_us,
    )
    watch = streaming.watch(flight, request.receive)

    def closed() -> None:
        watch.cancel()
        flight.settle(lambda: _ended(state, ticket, flight, paper.head.prompts))

    headers = {"x-request-id": ticket.id, "x-paddock-release": ticket.release.name}
    flight.start(submits)
    try:
        await streaming.ready(flight)
        if flight.streams and not flight.gone:
            keep = ticket.prompt is not None
            return streaming.Stream(flight, paper, headers, keep=keep, closed=closed)
        response = streaming.whole(flight, paper, headers)
    except BaseException as error:
        if isinstance(error, errors.BadRequest):
            error.param = paper.asks
        flight.abandon()
        closed()
        raise
    closed()
    return response


async def _release(
    state: State, request: Request, key: Key, service: Service, body: bodies.Wanted
) -> Release:
    """Who answers: whom an operator names, else the arm of the split that the unit falls to."""
    pinned = auth.pinned(request, key)
    if pinned is not None:
        return await state.catalogue.release(pinned)
    unit = body.user or auth.session(request) or request.state.id
    arms = [(arm.release, arm.weight_bp) for arm in service.split.arms]
    try:
        number = routing.assign(arms, service.split.salt, unit).release
        return state.catalogue.picture.releases[number]
    except (routing.NoArm, KeyError) as error:
        raise errors.Unavailable(
            f"Service {service.name} has no release that could answer.", code="no_release"
        ) from error


async def _member(state: State, release: Release) -> Member:
    """The worker that serves a release; one that was never seen yet is waited for."""
    hopeless = state.fleet.hopeless(release)
    if hopeless is not None:
        raise errors.Unavailable(
            errors.sentence(errors.outside(hopeless)), code="release_unavailable"
        )
    member = state.fleet.members[release.deployment]
    lane = state.fleet.lane(release)
    if lane is not None and release.adapter not in member.client.loaded:
        member.client.want_adapters({release.adapter: lane})
    if member.template is None:
        await member.introduced(release.limits.queue_s)
    return member


def _sampling(body: bodies.Wanted, release: Release, seed: int) -> wire.Sampling:
    own = release.sampling
    return wire.Sampling(
        temperature=own.temperature if body.temperature is None else body.temperature,
        top_k=own.top_k if body.top_k is None else max(0, body.top_k),
        top_p=own.top_p if body.top_p is None else body.top_p,
        min_p=own.min_p if body.min_p is None else body.min_p,
        seed=seed,
    )


def _limit(body: bodies.Wanted, release: Release) -> int:
    asked = body.limit() or release.limits.max_tokens
    return min(asked, release.limits.max_tokens_cap or asked)


def _ended(state: State, ticket: Ticket, flight: Flight, prompts: int) -> None:
    if isinstance(flight.problem, errors.BadRequest):
        return  # it never was a request that could be served
    completion = "\n\n".join("".join([*c.kept, *c.text]) for c in flight.choices)
    _note(state, ticket, ticket.ended(flight, prompts), completion)


def _note(state: State, ticket: Ticket, row: Row, completion: str) -> None:
    state.recorder.note(row, ticket.text(completion))
    state.windows.arm(ticket.service, ticket.release.number).ended(row)
    state.metrics.ended(row)
