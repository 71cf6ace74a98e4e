"""The controllers of verbs, each declared beside its function with `@controls("noun.verb")`.

A verb of the noun `services` has its controller in `engine/control/services.py`; `load` imports
the modules that the table of verbs names and proves that every verb of control has exactly one
controller and every controller a verb. Imported by `engine.control`.
"""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final, TypeVar

from engine.control.decisions import Decision
from storage.control_socket import verbs
from storage.control_socket.verbs import Process

CarryOut = Callable[..., Awaitable[Decision]]
"""(session, intent, arguments, at_us) -> Decision"""

F = TypeVar("F", bound=CarryOut)

_declared: Final[dict[str, Controller]] = {}


class Misdeclared(Exception):
    """Verbs and controllers do not match; a fault in Paddock that its start reports."""


@dataclass(frozen=True, slots=True)
class Controller:
    """How control carries out one verb."""

    verb: str
    carry_out: CarryOut


def controls(verb: str) -> Callable[[F], F]:
    """Declare a function as the controller of a verb.

    Raises:
        Misdeclared: the verb has a controller already.
    """
    if verb in _declared:
        raise Misdeclared(f"{verb} has two controllers")

    def declare(function: F) -> F:
        _declared[verb] = Controller(verb, function)
        return function

    return declare


def load() -> Mapping[str, Controller]:
    """The controllers by verb.

    Raises:
        Misdeclared: a verb has no controller, or a controller no verb that control carries out.
    """
    wanted = verbs.carried_out_by(Process.CONTROL)
    for noun in sorted({verbs.TABLE[verb].noun for verb in wanted}):
        importlib.import_module(f"engine.control.{noun}")
    check(wanted, _declared.keys())
    return dict(_declared)


def check(wanted: AbstractSet[str], declared: AbstractSet[str]) -> None:
    """Prove that verbs and controllers match one to one.

    Raises:
        Misdeclared: with the names that do not match.
    """
    if missing := sorted(wanted - declared):
        raise Misdeclared(f"no controller is declared for {', '.join(missing)}")
    if unknown := sorted(declared - wanted):
        raise Misdeclared(f"control does not carry out {', '.join(unknown)}")
