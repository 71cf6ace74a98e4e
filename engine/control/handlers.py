"""The handlers of verbs, each declared beside its function with `@handles("noun.verb")`.

A verb of the noun `services` has its handler in `engine/control/services.py`; `load` imports the
modules that the table of verbs names and proves that every verb of control has exactly one handler
and every handler a verb. Imported by `engine.control`.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Awaitable, Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final, TypeVar

from engine.control.decisions import Decision
from storage.control_socket import verbs
from storage.control_socket.verbs import Process
from storage.intents import Intent
from storage.store import Session

Handler = Callable[..., Awaitable[Decision]]
"""(session, intent, arguments, at_us) -> Decision"""
Check = Callable[[Session, Intent, Any], Awaitable[object]]
"""(session, intent, arguments) -> a verdict that the check keeps for its handler"""

H = TypeVar("H", bound=Handler)
C = TypeVar("C", bound=Check)

_declared: Final[dict[str, Handler]] = {}
_checks: Final[dict[str, Check]] = {}


class Misdeclared(Exception):
    """Verbs and handlers do not match; a fault in Paddock that its start reports."""


def handles(verb: str) -> Callable[[H], H]:
    """Declare a function as the handler of a verb.

    Raises:
        Misdeclared: the verb has a handler already.
    """
    if verb in _declared:
        raise Misdeclared(f"{verb} has two handlers")

    def declare(function: H) -> H:
        _declared[verb] = function
        return function

    return declare


def checks(verb: str) -> Callable[[C], C]:
    """Declare a function that is slow and only reads, to be awaited before the transaction."""

    def declare(function: C) -> C:
        _checks[verb] = function
        return function

    return declare


async def check_before(s: Session, intent: Intent) -> None:
    """Run the slow check of an intent before its transaction, where it would delay other writers.

    Errors are ignored: the handler runs into them again.
    """
    slow = _checks.get(intent.verb)
    if slow is not None:
        with contextlib.suppress(Exception):
            await slow(s, intent, verbs.parse(intent.verb, intent.arguments))


def load() -> Mapping[str, Handler]:
    """The handlers by verb.

    Raises:
        Misdeclared: a verb has no handler, or a handler no verb that control carries out.
    """
    wanted = verbs.carried_out_by(Process.CONTROL)
    for noun in sorted({verbs.TABLE[verb].noun for verb in wanted}):
        importlib.import_module(f"engine.control.{noun}")
    check(wanted, _declared.keys())
    return dict(_declared)


def check(wanted: AbstractSet[str], declared: AbstractSet[str]) -> None:
    """Prove that verbs and handlers match one to one.

    Raises:
        Misdeclared: with the names that do not match.
    """
    if missing := sorted(wanted - declared):
        raise Misdeclared(f"no handler is declared for {', '.join(missing)}")
    if unknown := sorted(declared - wanted):
        raise Misdeclared(f"control does not carry out {', '.join(unknown)}")
