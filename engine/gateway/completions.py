"""POST /v1/chat/completions and /v1/completions: from a body to a job, from its events to HTTP.

The other dialects' endpoints complete their bodies here as well. Planning and executing are
`engine.execution`'s. Imported by the routes and by those endpoints.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response

from engine.execution import failures, plan, prompts
from engine.execution.answers import Answer
from engine.execution.execute import Execution
from engine.execution.job import Input, Job, Options, Prompt
from engine.execution.shadow_copies import Asked
from engine.gateway import (
    auth,
    errors,
    openai_format,
    request_bodies,
    service_paths,
    streaming,
)
from engine.gateway.context import Context
from engine.gateway.formats import Document, Format, Head
from storage.keys import Key
from storage.releases import Release
from storage.services import Service

_CHAT: Final = request_bodies.Reader(request_bodies.Chat)
_TEXT: Final = request_bodies.Reader(request_bodies.Completion)


class Prompted(Protocol):
    """What the body of a request gives of its prompt, in whatever dialect."""

    @property
    def model(self) -> str | None:
        """The name of the service, where the body has it."""

    @property
    def prompt_variables(self) -> dict[str, Any] | None:
        """The variables of the release's prompt."""

    @property
    def unit(self) -> str | None:
        """The user who stays on one arm of a split."""

    def input(self) -> Input:
        """The conversation, the texts to continue, or what is embedded or ranked."""


class Body(Prompted, Protocol):
    """What the body of a request for a completion gives, in whatever dialect."""

    @property
    def stream(self) -> bool | None:
        """Whether the answer is to be sent as it grows."""

    def options(self) -> Options:
        """What the caller sets."""


Prepare = Callable[[Context, Key, Any], Awaitable[Body]]
"""Makes what is answered of the body that was read."""


async def chat(context: Context, request: Request) -> Response:
    """POST /v1/chat/completions."""

    def format(head: Head, body: request_bodies.Chat, job: Job) -> Format:
        return openai_format.ChatFormat(head, **_asked(body, job))

    return await complete(context, request, _CHAT, format)


async def text(context: Context, request: Request) -> Response:
    """POST /v1/completions."""

    def format(head: Head, body: request_bodies.Completion, job: Job) -> Format:
        return openai_format.TextFormat(head, **_asked(body, job))

    return await complete(context, request, _TEXT, format)


def _asked(body: request_bodies.Completing, job: Job) -> dict[str, Any]:
    """What the answer is to have besides its text."""
    return {
        "usage": body.counted,
        "arrived_us": job.arrived_us if body.timings_per_token else None,
        "token_ids": job.token_ids,
    }


async def complete(
    context: Context,
    request: Request,
    reader: request_bodies.Reader,
    format: Callable[[Head, Any, Job], Document],
    prepare: Prepare | None = None,
) -> Response:
    """The answer to a body that `reader` decodes, in the format for it and its job.

    `prepare` makes what is answered of the body that was read, if it is not the body itself.
    """
    arrived_us, at_us = context.monotonic_us(), context.now_us()
    request.state.id = context.new_id()
    key = await auth.key(request, context.catalog)
    with context.bodies.account(key) as account:
        raw = await account.read(request)
        await account.turn()
        body: Body = reader.read(raw)
        if prepare is not None:
            body = await prepare(context, key, body)
        await account.turn()
        job = await _plan(context, request, key, body, at_us, arrived_us)
        head = Head(
            id=request.state.id,
            created=job.at_us // 1_000_000,
            model=job.service,
            fingerprint=f"fp_{job.release.sha256[:12]}",
        )
        execution = context.executor.run(job)
        over = _copy(context, request, key, body, execution)
        return await _respond(request, execution, format(head, body, job), over)


async def chosen(
    context: Context, request: Request, key: Key, body: Prompted, service: Service
) -> Release:
    """The release that answers: the one that an operator named, or that of the caller's unit."""
    pinned = auth.pinned(request, key)
    if pinned is not None:
        release = await context.catalog.release(pinned)
    else:
        request.state.unit = body.unit or auth.session(request) or request.state.id
        release = plan.release(context.catalog.snapshot, service, request.state.unit)
    request.state.release = release.name
    return release


async def _plan(
    context: Context,
    request: Request,
    key: Key,
    body: Body,
    at_us: int,
    arrived_us: int,
) -> Job:
    """The job for a body."""
    catalog = context.catalog
    via = auth.via(request, context.gateway_id)
    input, options, class_ = body.input(), body.options(), auth.class_(request)
    service = await catalog.service(service_paths.named(context, request, body.model))
    release, exposure = await chosen(context, request, key, body, service), None
    if hasattr(request.state, "unit") and catalog.pepper is not None:
        named = body.unit or auth.session(request)
        exposure = plan.exposure(service, named or None, catalog.pepper, request.state.id)
    job = plan.job(
        id=f"req_{request.state.id}",
        at_us=at_us,
        arrived_us=arrived_us,
        endpoint=service_paths.endpoint(request),
        service=service,
        release=release,
        key=key,
        input=input,
        options=options,
        new_seed=context.new_seed(),
        class_=class_,
        stream=bool(body.stream),
        via=via,
        exposure=exposure,
    )
    if job.sampling.min_tokens > job.max_tokens:
        raise errors.BadRequest(
            f"min_tokens ({job.sampling.min_tokens}) exceeds max_tokens ({job.max_tokens}).",
            code="invalid_value",
            param="min_tokens",
        )
    if job.choices > request_bodies.SEQUENCES_LIMIT:
        raise errors.BadRequest(
            f"The request asks for {job.choices} sequences; the limit is "
            f"{request_bodies.SEQUENCES_LIMIT}.",
            code="invalid_value",
            param="n",
        )
    request.state.recorded = True  # from here on it is, however it ends
    try:
        plan.check_task(release, input)
        job = await prompts.with_prompt(catalog.snapshot, job, body.prompt_variables or {})
        context.budgets.admit(job)
    except failures.Failure as failure:
        context.executor.refuse(job, failure)
        raise
    return job


def _copy(
    context: Context,
    request: Request,
    key: Key,
    body: Body,
    execution: Execution,
) -> Callable[[], None] | None:
    """What copies the request to a shadow once its client has the answer; None for most."""
    job, unit = execution.job, getattr(request.state, "unit", None)
    shadow = None if unit is None else context.copies.shadow(job, unit)
    if shadow is None:
        return None
    input = body.input()
    if not isinstance(input, Prompt):  # only texts are compared
        return None
    execution.answer.keep_text()

    def over() -> None:
        asked = Asked(
            shadow=shadow, job=job, key=key, input=input, options=body.options(),
            variables=body.prompt_variables or {},
        )  # fmt: skip
        context.copies.offer(asked, execution)

    return over


async def _respond(
    request: Request,
    execution: Execution,
    format: Document,
    over: Callable[[], None] | None,
) -> Response:
    """The whole answer, or a stream; `over` is called when the client has it.

    A stream begins with its first event, so that a refusal has its status, or when it has waited
    so long that a proxy may soon give up; a refusal after that is an event of the stream.
    """
    job = execution.job
    headers = {"x-request-id": job.id, "x-paddock-release": job.release.name}
    watch = streaming.watch(execution, request.receive)
    try:
        if job.stream:
            assert isinstance(format, Format)  # noqa: S101 only a body for text asks for a stream
            first = streaming.First(execution)
            await first.within(streaming.WAIT_S)
            return streaming.Stream(
                execution, first, format, headers, closed=watch.cancel, over=over
            )
        answer = await execution.whole()
    except StopAsyncIteration:
        watch.cancel()
        return Response(status_code=streaming.GONE)
    except BaseException:
        execution.cancel()
        watch.cancel()
        raise
    watch.cancel()
    if execution.cancelled:
        return Response(status_code=streaming.GONE)
    body = await document(format, answer)
    return Response(body, headers=headers, media_type="application/json", background=_after(over))


def _after(over: Callable[[], None] | None) -> BackgroundTask | None:
    """What Starlette runs when the response was sent; a plain function would get a thread."""
    if over is None:
        return None

    async def call() -> None:
        over()

    return BackgroundTask(call)


async def document(format: Document, answer: Answer) -> bytes:
    """The whole answer; others get their turn between the pieces of a large one."""
    whole = not any(choice.logprobs or choice.echo for choice in answer.choices)
    if answer.vectors is None and whole:
        return format.whole(answer)
    return await streaming.gathered(format.pieces(answer))
