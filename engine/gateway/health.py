"""GET /healthz and /readyz: liveness, and which services can answer. Imported by the routes."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from engine.execution.answering import NotAnswering
from engine.execution.execute import Executor
from engine.execution.snapshot import Snapshot
from engine.gateway import errors
from engine.gateway.context import Context
from storage.releases import Release


class Failing(msgspec.Struct, frozen=True):
    """All of the last requests failed: how many, since when (UTC), the last error."""

    reason: str
    failed: int
    since_us: int
    error: str


class Arm(msgspec.Struct, frozen=True, omit_defaults=True):
    """A release of a service that gets traffic; `reason` is why it cannot answer, or ""."""

    release: str
    reason: str = ""
    evidence: Failing | None = None


async def alive(_context: Context, _request: Request) -> Response:
    """GET /healthz: this process answers."""
    return _json(HTTPStatus.OK, {"status": "alive"})


async def ready(context: Context, request: Request) -> Response:
    """GET /readyz: 200 while every service, or the one in `?service=`, has an arm that can answer.

    The body names the arms and instances that cannot, with the reason.
    """
    named = request.query_params.get("service")
    found = arms(context.catalog.snapshot, context.executor, context.now_us)
    if named is not None:
        found = {named: found[(await context.catalog.service(named)).name]}
    reasons = [
        {"service": service, "release": arm.release, "reason": arm.reason}
        | ({} if arm.evidence is None else msgspec.to_builtins(arm.evidence))
        for service, each in found.items()
        for arm in each
        if arm.reason
    ]
    reasons += [
        {"instance": name, **msgspec.to_builtins(evidence)}
        for name, evidence in _instances(context.executor, context.now_us).items()
        if named is None
    ]
    if not found:
        reasons = [{"reason": "there is no service yet; `paddock services create` makes one"}]
    recorder = context.recorder
    said = recorder.trouble or recorder.exposed
    trouble = None if said is None else errors.outside(said)
    can = answers(found) and context.catalog.checks_keys
    if not context.catalog.checks_keys:
        locked = context.catalog.locked or "no key can be checked"
        reasons.append({"reason": errors.outside(locked)})
    document: dict[str, object] = {
        "status": "ready" if can else "unready",
        "reasons": reasons,
        "recorder": {"trouble": trouble, "held": recorder.held, "lost": recorder.lost},
    }
    return _json(HTTPStatus.OK if can else HTTPStatus.SERVICE_UNAVAILABLE, document)


def arms(snapshot: Snapshot, executor: Executor, now_us: Callable[[], int]) -> dict[str, list[Arm]]:
    """Each service's arms that get traffic, with the reason where one cannot answer.

    `now_us` is UTC.
    """
    found: dict[str, list[Arm]] = {name: [] for name in sorted(snapshot.services)}
    for service, number in sorted(snapshot.live):
        release = snapshot.releases.get(number)
        if release is None:
            found[service].append(Arm(f"r{number}", "it is unknown"))
        else:
            found[service].append(_arm(release, executor, now_us))
    return found


def _arm(release: Release, executor: Executor, now_us: Callable[[], int]) -> Arm:
    reason = executor.unready(release)
    if reason is not None:
        return Arm(release.name, errors.outside(reason))
    verdict = executor.answering.verdict(release.number, executor.now_us())
    if verdict is None:
        return Arm(release.name)
    evidence = _failing(verdict, executor.now_us(), now_us())
    return Arm(release.name, evidence.reason, evidence)


def _instances(executor: Executor, now_us: Callable[[], int]) -> dict[str, Failing]:
    monotonic = executor.now_us()
    verdicts = executor.answering.instances(monotonic)
    return {name: _failing(verdict, monotonic, now_us()) for name, verdict in verdicts.items()}


def _failing(verdict: NotAnswering, monotonic_us: int, now_us: int) -> Failing:
    return Failing(
        errors.outside(verdict.reason(monotonic_us)),
        verdict.failed,
        now_us - (monotonic_us - verdict.since_us),
        errors.outside(verdict.error),
    )


def answers(found: dict[str, list[Arm]]) -> bool:
    """Whether every service has an arm that can answer. Without a service nothing can."""
    return bool(found) and all(any(not arm.reason for arm in each) for each in found.values())


def _json(status: HTTPStatus, document: object) -> Response:
    return Response(msgspec.json.encode(document), status, media_type="application/json")
