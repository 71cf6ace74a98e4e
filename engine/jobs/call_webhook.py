"""The job that sends one message of a rollout to a webhook and keeps what it answered.

The message's id is in the arguments, so that every attempt sends the same one. A webhook that says
no ends the job successfully: it has answered. Imported by `engine.jobs.kinds`, by name.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from engine.jobs import kinds
from engine.jobs.context import Context
from engine.jobs.errors import Refused, Transient
from engine.webhooks import call, signature
from storage import errors, rollout_webhooks
from storage.home import secrets
from storage.rollout_webhooks import Answer, Message

_SECOND_US: Final = 1_000_000


async def send(context: Context) -> Any:
    """The answer."""
    message = msgspec.convert(dict(context.job.arguments), Message)
    body = msgspec.json.encode(message.body)
    headers = signature.headers(
        message.id, body, at_s=context.now_us() // _SECOND_US, secret=_secret(context, message)
    )
    try:
        response = await call.post(message.url, body, headers)
    except call.Unanswered as error:
        raise Transient(f"{message.url}: {error}.", error.after_s) from error
    except call.Misdirected as error:
        raise Refused(f"{message.url}: {error}.") from error
    verdict = "agreed" if response.proceed else "said no"
    why = f": {response.reason.rstrip('.')}" if response.reason else ""
    said = f"{message.url} {verdict} ({response.status}){why}."
    context.log(said)
    return msgspec.to_builtins(Answer(proceed=response.proceed, sentence=said))


async def conclude(context: Context) -> str:
    """The answer, in a sentence."""
    return msgspec.convert(context.results[rollout_webhooks.STEP], Answer).sentence


KIND: Final = kinds.Kind(
    (kinds.Step(rollout_webhooks.STEP, send), kinds.Step("conclude", conclude))
)


def _secret(context: Context, message: Message) -> str | None:
    if message.secret is None:
        return None
    try:
        return secrets.read(context.home, message.secret)
    except errors.NotFound as error:
        raise Refused(f"The message cannot be signed: {error}.") from error
