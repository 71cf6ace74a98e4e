"""Prices: set or removed by people from a time on. Imported by `engine.control.handlers`."""

from __future__ import annotations

import datetime as dt

from engine.control.decisions import Decision, Reason
from engine.control.handlers import handles
from storage import costs, prices, upstreams
from storage.control_socket import verbs
from storage.home import config
from storage.intents import Intent
from storage.prices import Price
from storage.sqlite import location
from storage.store import Session


@handles("prices.set")
async def set(s: Session, intent: Intent, arguments: verbs.prices.Set, at_us: int) -> Decision:
    """Set a price; one without figures ends it."""
    settings, _ = config.readable(await location.home(await s.connection()))
    price = await prices.set(
        s,
        subject=intent.target,
        from_s=arguments.from_s,
        currency=arguments.currency,
        micro=arguments.micro,
        input_micro=arguments.input_micro,
        output_micro=arguments.output_micro,
        cached_micro=arguments.cached_micro,
        settings=settings.price,
        actor=intent.actor,
        at_us=at_us,
        intent_id=intent.id,
    )
    said = _outcome(price)
    if not price.unset:
        said += await _unmet(s, price.subject)
    return Decision(Reason.APPLIED, said, price)


async def _unmet(s: Session, subject: str) -> str:
    """A hint where the upstream that is priced is not there: it may come yet, or is misspelt."""
    name = subject.partition("/")[0]
    known = [each.name for each in await upstreams.every(s)]
    if subject in {prices.GPU_HOUR, prices.KWH} or name in known:
        return ""
    return f" There is no upstream {name} now; known: {', '.join(known) or 'none'}."


def _outcome(price: Price) -> str:
    since = dt.datetime.fromtimestamp(price.from_s, dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
    if price.unset:
        return f"{price.subject} has no price from {since} on."
    amount = costs.amount
    if price.micro is not None:
        each = amount(price.micro)
        return f"{price.subject} costs {each} {price.currency} from {since} on."
    parts = {"input": price.input_micro, "cached": price.cached_micro, "output": price.output_micro}
    known = [f"{amount(each)} of {name}" for name, each in parts.items() if each is not None]
    return (
        f"A million tokens of {price.subject} cost {', '.join(known)} ({price.currency}) "
        f"from {since} on."
    )
