"""GET /v1/models: the services, which are what clients call models. Imported by the routes."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from engine.gateway import auth
from engine.gateway.context import Context
from storage.services import Service


async def every(context: Context, request: Request) -> Response:
    """All of them."""
    await auth.key(request, context.catalog)
    listed = [_entry(service) for service in context.catalog.snapshot.services.values()]
    return _json({"object": "list", "data": listed})


async def one(context: Context, request: Request) -> Response:
    """GET /v1/models/{id}."""
    await auth.key(request, context.catalog)
    return _json(_entry(await context.catalog.service(request.path_params["name"])))


def _entry(service: Service) -> dict[str, Any]:
    return {
        "id": service.name,
        "object": "model",
        "created": service.created_at_us // 1_000_000,
        "owned_by": "paddock",
    }


def _json(document: object) -> Response:
    return Response(msgspec.json.encode(document), media_type="application/json")
