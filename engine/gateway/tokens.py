"""Tokens, texts and templates: what the model of a service makes of a prompt.

A conversation includes the prompt of the release, as it does when it is answered. Nothing is
computed or recorded. Imported by the routes and by `engine.gateway.messages`.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from engine.backends.protocol import Tokeniser
from engine.execution import plan, prompts
from engine.execution.job import Chat, Job, Options, Prompt, Tokens
from engine.gateway import auth, completions, request_bodies, service_paths, token_bodies
from engine.gateway.context import Context

_TOKENIZE: Final = request_bodies.Reader(token_bodies.Tokenize)
_DETOKENIZE: Final = request_bodies.Reader(token_bodies.Detokenize)
_CHAT: Final = request_bodies.Reader(request_bodies.Chat)


async def tokenize(context: Context, request: Request) -> Response:
    """POST /tokenize."""
    body, job = await read(context, request, _TOKENIZE)
    told = await tokens(context, job, bos=body.bos, special=body.special)
    document: dict[str, Any] = {
        "count": len(told.tokens),
        "max_model_len": told.context_tokens,
        "tokens": told.tokens,
    }
    if body.with_pieces:
        pairs = zip(told.tokens, told.raw, strict=True)
        document["tokens"] = [{"id": token, "piece": _piece(raw)} for token, raw in pairs]
    if body.return_token_strs:
        document["token_strs"] = [raw.decode("utf-8", "replace") for raw in told.raw]
    return _json(document)


async def detokenize(context: Context, request: Request) -> Response:
    """POST /detokenize."""
    body, job = await read(context, request, _DETOKENIZE)
    told = await _tokeniser(context, job).spelled(job.release, body.tokens, job.queue_us / 1e6)
    text = b"".join(told.raw).decode("utf-8", "replace")
    return _json({"prompt": text, "content": text})


async def apply_template(context: Context, request: Request) -> Response:
    """POST /apply-template."""
    _, job = await read(context, request, _CHAT)
    assert isinstance(job.input, Chat)  # noqa: S101 as the body of a chat is
    text = await _tokeniser(context, job).rendered(job.release, job.input, job.queue_us / 1e6)
    return _json({"prompt": text})


async def info(context: Context, request: Request) -> Response:
    """GET /tokenizer_info: what remote tokenisers of evaluation harnesses ask first."""
    key = await auth.key(request, context.catalog)
    name = service_paths.named(context, request, request.query_params.get("model"))
    service = await context.catalog.service(name)
    request.state.id = context.new_id()
    release = await completions.chosen(context, request, key, token_bodies.Tokenize(), service)
    tokeniser = context.executor.tokeniser(release)
    known = await tokeniser.described(release, release.limits.queue_s)
    return _json(
        {
            "tokenizer_class": "GGUF",
            "bos_token": known.bos or None,
            "eos_token": known.eos or None,
            "pad_token": None,
            "chat_template": known.chat_template,
            "model_max_length": known.context_tokens,
        }
    )


async def input_tokens(context: Context, request: Request) -> Response:
    """POST /v1/chat/completions/input_tokens, as llama-server has it."""
    return await counted(context, request, _CHAT)


async def counted(
    context: Context,
    request: Request,
    reader: request_bodies.Reader,
    prepare: completions.Prepare | None = None,
) -> Response:
    """How many tokens a conversation has, with the prompt of the release: what would be charged."""
    _, job = await read(context, request, reader, prepare)
    told = await tokens(context, job)
    return _json({"object": "response.input_tokens", "input_tokens": len(told.tokens)})


async def read(
    context: Context,
    request: Request,
    reader: request_bodies.Reader,
    prepare: completions.Prepare | None = None,
) -> tuple[Any, Job]:
    """The body of a request, and the job that would answer its prompt."""
    request.state.id = context.new_id()
    key = await auth.key(request, context.catalog)
    with context.bodies.account(key) as account:
        raw = await account.read(request)
        await account.turn()
        body: completions.Prompted = reader.read(raw)
        if prepare is not None:
            body = await prepare(context, key, body)
        name = service_paths.named(context, request, body.model)
        service = await context.catalog.service(name)
        release = await completions.chosen(context, request, key, body, service)
        job = plan.job(
            id=f"req_{request.state.id}",
            at_us=context.now_us(),
            arrived_us=context.monotonic_us(),
            endpoint=service_paths.endpoint(request),
            service=service,
            release=release,
            key=key,
            input=body.input(),
            options=Options(),
            new_seed=0,
        )
        if isinstance(job.input, Chat):
            snapshot = context.catalog.snapshot
            job = await prompts.with_prompt(snapshot, job, body.prompt_variables or {})
        return body, job


async def tokens(
    context: Context, job: Job, *, bos: bool = True, special: bool | None = False
) -> Tokens:
    """The tokens of a job's prompt; `special` as `Tokeniser.tokens` has it."""
    tokeniser = _tokeniser(context, job)
    within_s = job.queue_us / 1e6
    assert isinstance(job.input, Prompt)  # noqa: S101 as the bodies' are
    return await tokeniser.tokens(job.release, job.input, within_s, bos=bos, special=special)


def _tokeniser(context: Context, job: Job) -> Tokeniser:
    return context.executor.tokeniser(job.release)


def _piece(raw: bytes) -> str | list[int]:
    """The text of a token; its bytes where they are not UTF-8 by themselves."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return list(raw)


def _json(document: object) -> Response:
    return Response(msgspec.json.encode(document), media_type="application/json")
