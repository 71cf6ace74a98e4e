"""Whether the box is alive, and whether it can produce tokens. Imported by the gateway's routes."""

from __future__ import annotations

from http import HTTPStatus

import msgspec
from starlette.responses import Response

from engine.backends.fleet import Fleet
from engine.execution.catalog import Picture
from engine.gateway import errors
from engine.gateway.context import State


def alive() -> Response:
    """GET /healthz: this process answers."""
    return _json(HTTPStatus.OK, {"status": "alive"})


def ready(state: State) -> Response:
    """GET /readyz: every arm that gets traffic can produce tokens, else 503 with the reasons."""
    reasons = unready(state.catalogue.picture, state.fleet)
    recorder = state.recorder
    trouble = None if recorder.trouble is None else errors.outside(recorder.trouble)
    document: dict[str, object] = {
        "status": "unready" if reasons else "ready",
        "reasons": reasons,
        "recorder": {"trouble": trouble, "held": recorder.held, "lost": recorder.lost},
    }
    return _json(HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK, document)


def unready(picture: Picture, fleet: Fleet) -> list[dict[str, str]]:
    """Which arms cannot produce tokens, and why. Without a service nothing can."""
    if not picture.services:
        return [{"reason": "there is no service yet; `paddock services create` makes one"}]
    found = []
    for service, number in sorted(picture.live()):
        release = picture.releases.get(number)
        reason = "it is unknown" if release is None else fleet.unable(release)
        if reason is not None:
            told = errors.outside(reason)
            found.append({"service": service, "release": f"r{number}", "reason": told})
    return found


def _json(status: HTTPStatus, document: object) -> Response:
    return Response(msgspec.json.encode(document), status, media_type="application/json")
