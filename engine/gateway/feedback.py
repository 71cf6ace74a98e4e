"""POST /v1/feedback: a client's rating of an answer. Imported by the gateway's routes."""

from __future__ import annotations

from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from engine.gateway import auth, errors, request_bodies
from engine.gateway.context import Context
from storage import errors as faults
from storage import feedback, requests
from storage.feedback import Feedback
from storage.keys import Key, Role
from storage.requests import Request as Answered
from storage.store import Session

_READER: Final = request_bodies.Reader(request_bodies.Feedback)


async def give(context: Context, request: Request) -> Response:
    """Store a rating; it is durable once this returns. Tenants rate their own requests only."""
    key = await auth.key(request, context.catalog)
    with context.bodies.account(key) as account:
        body: request_bodies.Feedback = _READER.read(await account.read(request))
    named = body.request_id or body.id
    if not named:
        raise errors.BadRequest(
            "Name the request: request_id is in the answer's x-request-id header.",
            code="missing_required_parameter",
            param="request_id",
        )
    await context.recorder.flush()  # the request may have ended just now
    if context.recorder.trouble is not None:  # the next write would wait for the same reason
        raise errors.Unavailable(
            errors.sentence(errors.outside(context.recorder.trouble)),
            code="store_unavailable",
            retry_after_us=1_000_000,
        )
    try:
        async with context.store.read() as s:
            answered = await requests.find(s, named)
        _check_own(key, answered, named)
        kept, before = await context.store.write(
            lambda s: _add(s, context, body, answered, key), nudge=False
        )
    except faults.NotFound as error:
        raise _unknown(named) from error
    except faults.Unavailable as error:
        raise errors.Unavailable(errors.outside(str(error)), code="store_unavailable") from error
    if before != kept.score:
        context.windows.judged(answered, kept.score, before)
    document = {
        "object": "feedback",
        "id": kept.id,
        "request_id": answered.id,
        "score": kept.score,
        "correct": kept.correct,
    }
    return Response(msgspec.json.encode(document), media_type="application/json")


async def _add(
    s: Session, context: Context, body: request_bodies.Feedback, answered: Answered, key: Key
) -> tuple[Feedback, int | None]:
    """Store it; also returns what the same key rated before."""
    earlier = [each.score for each in await feedback.of(s, answered.id) if each.key_id == key.id]
    kept = await feedback.add(
        s,
        request_id=answered.id,
        at_us=context.now_us(),
        score=body.score,
        correct=body.correct,
        comment=body.comment,
        key_id=key.id,
    )
    return kept, earlier[0] if earlier else None


def _check_own(key: Key, answered: Answered, named: str) -> None:
    if key.tenant != answered.tenant and not key.role.may(Role.OPERATOR):
        raise _unknown(named)


def _unknown(named: str) -> errors.NotFound:
    return errors.NotFound(
        f"There is no request {named[:64]!r} of yours; feedback is for answers that have ended.",
        code="request_not_found",
        param="request_id",
    )
