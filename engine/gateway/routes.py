"""The paths of the HTTP door, and how every error becomes an OpenAI error object.

Routes take the raw request and answer with bytes; the OpenAPI document says what they take.
Imported by `engine.gateway.server`.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import msgspec
import structlog
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from engine.execution import failures
from engine.gateway import auth, bodies, completions, errors, health, metrics, streaming
from engine.gateway import feedback as feedback_endpoint
from engine.gateway import models as models_endpoint
from engine.gateway.context import Context
from storage.keys import Role

_log = structlog.get_logger("gateway.routes")

_BODIES: Final = {
    "chat": bodies.Chat,
    "text": bodies.Completion,
    "feedback": bodies.Feedback,
}
_SCHEMAS: Final = msgspec.json.schema_components(
    _BODIES.values(), ref_template="#/components/schemas/{name}"
)


def build(context: Context) -> FastAPI:
    """The application over the parts of one gateway."""
    app = FastAPI(title="Paddock", docs_url=None, redoc_url=None, redirect_slashes=False)

    @app.post("/v1/chat/completions", **_documented("chat"))
    async def chat(request: Request) -> Response:
        """Answer a conversation, whole or streamed."""
        return await completions.chat(context, request)

    @app.post("/v1/completions", **_documented("text"))
    async def text(request: Request) -> Response:
        """Continue a text, whole or streamed."""
        return await completions.text(context, request)

    @app.get("/v1/models", response_class=Response)
    async def models(request: Request) -> Response:
        """The services."""
        return await models_endpoint.every(context, request)

    @app.get("/v1/models/{name:path}", response_class=Response)
    async def model(request: Request, name: str) -> Response:
        """One service."""
        return await models_endpoint.one(context, request, name)

    @app.post("/v1/feedback", **_documented("feedback"))
    async def feedback(request: Request) -> Response:
        """What an answer was worth."""
        return await feedback_endpoint.take(context, request)

    @app.get("/healthz", response_class=Response)
    async def healthz() -> Response:
        """Alive."""
        return health.alive()

    @app.get("/readyz", response_class=Response)
    async def readyz(request: Request) -> Response:
        """Able to produce tokens."""
        return await health.ready(context, request)

    @app.get("/metrics", response_class=Response)
    async def measures(request: Request) -> Response:
        """For Prometheus: for viewers, unless the configuration opens it."""
        if not context.open_metrics:
            key = await auth.key(request, context.catalog)
            auth.check_role(key, Role.VIEWER, "Reading the metrics")
        return Response(await context.metrics.text(context.store), media_type=metrics.CONTENT_TYPE)

    app.add_exception_handler(errors.Problem, _problem)
    app.add_exception_handler(failures.Failure, _problem)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnect, _left)
    app.add_exception_handler(Exception, _unforeseen)
    _describe(app)
    return app


def _documented(kind: str) -> dict[str, Any]:
    name = _BODIES[kind].__name__
    schema = {"$ref": f"#/components/schemas/{name}"}
    return {
        "response_class": Response,
        "openapi_extra": {
            "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}
        },
    }


def _describe(app: FastAPI) -> None:
    """Put the bodies' schemas into the document, once somebody asks for it."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        document = made()
        document.setdefault("components", {}).setdefault("schemas", {}).update(_SCHEMAS[1])
        return document

    app.openapi = openapi  # type: ignore[method-assign]


async def _problem(request: Request, error: Exception) -> Response:
    problem = errors.of(error) if isinstance(error, failures.Failure) else error
    if not isinstance(problem, errors.Problem):
        problem = errors.Broken(str(error))
    headers = problem.headers()
    if (id := getattr(request.state, "id", None)) is not None:
        headers["x-request-id"] = f"req_{id}"
    if (release := getattr(request.state, "release", None)) is not None:
        headers["x-paddock-release"] = release
    return Response(
        problem.document(), problem.status, headers=headers, media_type="application/json"
    )


async def _http(request: Request, error: Exception) -> Response:
    """What the framework refuses: unknown paths and methods, clients that left."""
    status, headers = 500, {}
    if isinstance(error, HTTPException):
        status, headers = error.status_code, dict(error.headers or {})
    said = f"{request.method} {request.url.path}"[:200]
    problem: errors.Problem = errors.BadRequest(f"{said} cannot be served.")
    if status == HTTPStatus.NOT_FOUND:
        known = "the paths are listed at /openapi.json"
        problem = errors.NotFound(f"There is nothing at {said}; {known}.", code="unknown_url")
    elif status == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = f"; use {headers['Allow']}" if "Allow" in headers else ""
        problem = errors.WrongMethod(f"{said} is not allowed{allowed}.", code="method_not_allowed")
    response = await _problem(request, problem)
    response.headers.update(headers)
    return response


async def _left(_request: Request, _error: Exception) -> Response:
    """The client went away while it sent its body; nobody reads this."""
    return Response(status_code=streaming.GONE)


async def _unforeseen(request: Request, error: Exception) -> Response:
    _log.error("a request failed", path=request.url.path, exc_info=error)
    return await _problem(
        request,
        errors.Broken("Something went wrong here; the gateway's log says what.", code="internal"),
    )
