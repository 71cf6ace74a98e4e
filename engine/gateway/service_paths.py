"""The service that a request is for: its body names it, or its path for clients that cannot.

Remote tokenisers of evaluation harnesses send a text and nothing else. Imported by the endpoints
and the routes.
"""

from __future__ import annotations

from typing import Final

from starlette.requests import Request

from engine.gateway import errors
from engine.gateway.context import Context

PREFIX: Final = "/services/{service}"
"""Before the paths of what such clients ask."""
PATHS: Final = (
    "/v1/chat/completions", "/v1/completions", "/tokenize", "/detokenize", "/tokenizer_info",
)  # fmt: skip
"""Those paths."""


def named(context: Context, request: Request, model: str | None) -> str:
    """The name of the service.

    Raises:
        BadRequest: body and path name two, or neither names one of several.
    """
    path: str | None = request.path_params.get("service")
    if path is not None and model not in {None, path}:
        raise errors.invalid("model", f"the path is that of service {path}")
    if path is not None or model is not None:
        return path or model or ""
    services = context.catalog.snapshot.services
    if len(services) != 1:
        where = "there are several services" if services else "there is no service"
        raise errors.BadRequest(
            f"model: {where}; name one here, or ask below /services/NAME.",
            code="missing_required_parameter",
            param="model",
        )
    return next(iter(services))


def endpoint(request: Request) -> str:
    """The path of an endpoint without a service's name, for the record."""
    path: str = request.scope["path"]
    service = request.path_params.get("service")
    return path if service is None else path.removeprefix(PREFIX.format(service=service))
