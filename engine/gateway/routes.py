"""The gateway's paths, and how every error becomes an OpenAI error object.

Imported by `engine.gateway.server`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

import msgspec
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from engine.execution import failures
from engine.gateway import (
    anthropic_format,
    auth,
    completions,
    embeddings,
    errors,
    feedback,
    health,
    messages,
    metrics,
    models,
    openai_format,
    openapi,
    responses,
    service_paths,
    streaming,
    tokens,
)
from engine.gateway.context import Context
from engine.gateway.formats import Dialect
from storage.keys import Role

_EXPOSED: Final = ("x-request-id", "x-paddock-release", "retry-after", "retry-after-ms")
"""What a web page may read of an answer's headers."""

_log = structlog.get_logger("gateway.routes")

Endpoint = Callable[[Context, Request], Awaitable[Response]]


def build(context: Context) -> Starlette:
    """The application of one gateway."""
    schema = Response(msgspec.json.encode(openapi.document()), media_type="application/json")

    def get(path: str, endpoint: Endpoint) -> Route:
        return _route(context, path, "GET", endpoint)

    def post(path: str, endpoint: Endpoint, dialect: Dialect = openai_format.DIALECT) -> Route:
        return _route(context, path, "POST", endpoint, dialect)

    async def document(_context: Context, _request: Request) -> Response:
        return schema

    async def problem(request: Request, error: Exception) -> Response:
        if not getattr(request.state, "recorded", False):
            client = request.client.host if request.client else ""
            context.rejections.count(getattr(error, "code", None) or "invalid_request", client)
        return await _problem(request, error)

    async def http(request: Request, error: Exception) -> Response:
        return await _http(request, error, problem)

    browsers = Middleware(
        CORSMiddleware,
        allow_origins=context.allowed_origins,
        allow_methods=("GET", "POST"),
        allow_headers=("*",),
        expose_headers=_EXPOSED,
    )
    routes = [
        post("/v1/chat/completions", completions.chat),
        post("/v1/completions", completions.text),
        post("/v1/messages", messages.create, anthropic_format.DIALECT),
        post("/v1/messages/count_tokens", messages.count_tokens, anthropic_format.DIALECT),
        post("/v1/responses", responses.create),
        post("/v1/responses/input_tokens", responses.input_tokens),
        post("/v1/chat/completions/input_tokens", tokens.input_tokens),
        post("/v1/embeddings", embeddings.create),
        *(post(path, embeddings.rerank) for path in embeddings.RERANK_PATHS),
        post("/tokenize", tokens.tokenize),
        post("/detokenize", tokens.detokenize),
        post("/apply-template", tokens.apply_template),
        get("/tokenizer_info", tokens.info),
        get("/v1/models", models.every),
        get("/v1/models/{name:path}", models.one),
        post("/v1/feedback", feedback.give),
        get("/healthz", health.alive),
        get("/readyz", health.ready),
        get("/metrics", _metrics),
        get("/openapi.json", document),
    ]
    below = [
        Route(f"{service_paths.PREFIX}{each.path}", each.endpoint, methods=each.methods)
        for each in routes
        if each.path in service_paths.PATHS
    ]
    app = Starlette(
        middleware=[browsers] if context.allowed_origins else [],
        routes=[*routes, *below],
        exception_handlers={
            errors.Problem: problem,
            failures.Failure: problem,
            HTTPException: http,
            ClientDisconnect: _disconnected,
            Exception: _unexpected,
        },
    )
    app.router.redirect_slashes = False
    return app


def _route(
    context: Context,
    path: str,
    method: str,
    endpoint: Endpoint,
    dialect: Dialect = openai_format.DIALECT,
) -> Route:
    async def answer(request: Request) -> Response:
        request.state.dialect = dialect
        return await endpoint(context, request)

    return Route(path, answer, methods=[method])


async def _metrics(context: Context, request: Request) -> Response:
    """GET /metrics: for viewers, unless the configuration opens it."""
    if not context.open_metrics:
        key = await auth.key(request, context.catalog)
        auth.check_role(key, Role.VIEWER, "Reading the metrics")
    return Response(await context.metrics.text(context.store), media_type=metrics.CONTENT_TYPE)


async def _problem(request: Request, error: Exception) -> Response:
    problem = errors.of(error) if isinstance(error, failures.Failure) else error
    if not isinstance(problem, errors.Problem):
        problem = errors.Broken(str(error))
    headers = problem.headers()
    id = getattr(request.state, "id", None)
    dialect: Dialect = getattr(request.state, "dialect", openai_format.DIALECT)
    if id is not None:
        headers["x-request-id"] = headers[dialect.id_header] = f"req_{id}"
    if (release := getattr(request.state, "release", None)) is not None:
        headers["x-paddock-release"] = release
    return Response(
        dialect.error(problem, id), problem.status, headers=headers, media_type="application/json"
    )


async def _http(
    request: Request, error: Exception, answer: Callable[[Request, Exception], Awaitable[Response]]
) -> Response:
    """Starlette's own errors: unknown paths and methods."""
    status, headers = 500, {}
    if isinstance(error, HTTPException):
        status, headers = error.status_code, dict(error.headers or {})
    what = f"{request.method} {request.url.path}"[:200]
    problem: errors.Problem = errors.BadRequest(f"{what} cannot be served.")
    if status == HTTPStatus.NOT_FOUND:
        known = "the paths are listed at /openapi.json"
        problem = errors.NotFound(f"There is nothing at {what}; {known}.", code="unknown_url")
    elif status == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = f"; use {headers['Allow']}" if "Allow" in headers else ""
        problem = errors.WrongMethod(f"{what} is not allowed{allowed}.", code="method_not_allowed")
    response = await answer(request, problem)
    response.headers.update(headers)
    return response


async def _disconnected(_request: Request, _error: Exception) -> Response:
    """The client disconnected while it sent its body."""
    return Response(status_code=streaming.GONE)


async def _unexpected(request: Request, error: Exception) -> Response:
    _log.error("a request failed", path=request.url.path, exc_info=error)
    return await _problem(
        request,
        errors.Broken("Internal error; see the gateway's log.", code="internal"),
    )
