"""Settings of a service beside its split: texts, labels, cached prompts, the key of its webhooks.

Imported by `engine.control.handlers`, through the package.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from engine.control.decisions import Decision, Reason
from engine.control.handlers import handles
from storage import services
from storage.control_socket import verbs
from storage.intents import Intent
from storage.rollout_steps import OnLabel
from storage.service_rows import PrefixCache
from storage.store import Session


@handles("services.set")
async def set(s: Session, intent: Intent, arguments: verbs.services.Set, at_us: int) -> Decision:
    """Change the settings that the arguments name."""
    before = await services.find(s, intent.target)
    by = {"actor": intent.actor, "at_us": at_us, "intent_id": intent.id}
    said, applied = [], False
    for setting in SETTINGS:
        if (asked := getattr(arguments, setting.name)) is None:
            continue
        to = asked if asked != "" else None
        changes = to != getattr(before, setting.name)
        if changes:
            await setting.set(s, service=before.name, **{setting.argument: to}, **by)
        said.append(f"{before.name}: {setting.words(to)}{setting.end(to, changes=changes)}")
        applied = applied or changes
    return Decision(Reason.APPLIED if applied else Reason.UNCHANGED, " ".join(said), before)


@dataclass(frozen=True, slots=True)
class Setting:
    """What `services.set` may set: a field of the verb and of the service with the same `name`.

    `set` stores the new value, passed as `argument`. `words` describes the new value, and `leaves`
    what remains of the old one.
    """

    name: str
    set: Callable[..., Awaitable[None]]
    argument: str
    words: Callable[[Any], str]
    leaves: Callable[[Any], str] = lambda _to: ""

    def end(self, to: object, *, changes: bool) -> str:
        """The end of the sentence that `words` begins."""
        return f" from now on.{self.leaves(to)}" if changes else "; no change."


def _texts(to: bool) -> str:
    return f"texts are {'recorded' if to else 'not recorded'}"


def _labels(to: OnLabel) -> str:
    how = "at once" if to is OnLabel.AT_ONCE else f"by a {to.value.replace('_', '-')} rollout"
    return f"a label that moves is followed {how}"


def _cached(to: PrefixCache) -> str:
    how = "shared by all tenants" if to is PrefixCache.SHARED else "kept apart by tenant"
    return f"cached prompts are {how}"


def _signed(key: str | None) -> str:
    how = "not signed" if key is None else "signed by the key that was given"
    return f"messages of rollouts are {how}"


SETTINGS: Final = (
    Setting(
        "record_text", services.set_record_text, "on", _texts,
        lambda to: "" if to else " Texts recorded before are kept until their retention ends.",
    ),
    Setting("on_label", services.set_on_label, "to", _labels),
    Setting("prefix_cache", services.set_prefix_cache, "to", _cached),
    Setting("webhook_secret", services.set_webhook_secret, "to", _signed),
)  # fmt: skip
