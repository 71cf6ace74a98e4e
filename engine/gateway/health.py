"""GET /healthz and /readyz: liveness, and which services can answer. Imported by the routes."""

from __future__ import annotations

from http import HTTPStatus

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from engine.execution.catalog import Snapshot
from engine.execution.execute import Executor
from engine.gateway import errors
from engine.gateway.context import Context


class Arm(msgspec.Struct, frozen=True, omit_defaults=True):
    """A release of a service that gets traffic; `reason` is why it cannot answer, or ""."""

    release: str
    reason: str = ""


async def alive(_context: Context, _request: Request) -> Response:
    """GET /healthz: this process answers."""
    return _json(HTTPStatus.OK, {"status": "alive"})


async def ready(context: Context, request: Request) -> Response:
    """GET /readyz: 200 while every service, or the one in `?service=`, has an arm that can answer.

    The body names the arms that cannot, with the reason.
    """
    named = request.query_params.get("service")
    found = arms(context.catalog.snapshot, context.executor)
    if named is not None:
        found = {named: found[(await context.catalog.service(named)).name]}
    reasons = [
        {"service": service, "release": arm.release, "reason": arm.reason}
        for service, each in found.items()
        for arm in each
        if arm.reason
    ]
    if not found:
        reasons = [{"reason": "there is no service yet; `paddock services create` makes one"}]
    recorder = context.recorder
    trouble = None if recorder.trouble is None else errors.outside(recorder.trouble)
    can = answers(found)
    document: dict[str, object] = {
        "status": "ready" if can else "unready",
        "reasons": reasons,
        "recorder": {"trouble": trouble, "held": recorder.held, "lost": recorder.lost},
    }
    return _json(HTTPStatus.OK if can else HTTPStatus.SERVICE_UNAVAILABLE, document)


def arms(snapshot: Snapshot, executor: Executor) -> dict[str, list[Arm]]:
    """Each service's arms that get traffic, with the reason where one cannot answer."""
    found: dict[str, list[Arm]] = {name: [] for name in sorted(snapshot.services)}
    for service, number in sorted(snapshot.live()):
        release = snapshot.releases.get(number)
        reason = "it is unknown" if release is None else executor.unready(release)
        found[service].append(Arm(f"r{number}", errors.outside(reason or "")))
    return found


def answers(found: dict[str, list[Arm]]) -> bool:
    """Whether every service has an arm that can answer. Without a service nothing can."""
    return bool(found) and all(any(not arm.reason for arm in each) for each in found.values())


def _json(status: HTTPStatus, document: object) -> Response:
    return Response(msgspec.json.encode(document), status, media_type="application/json")
