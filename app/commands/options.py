"""The options and arguments that several commands share, and how a noun holds its commands."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, Any, TypeVar, cast, get_type_hints

import typer

from app import terminal

Command = TypeVar("Command", bound=Callable[..., Any])

Json = Annotated[bool, typer.Option("--json", help="As JSON, for scripts.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept in the ledger.")]
At = Annotated[
    str | None,
    typer.Option(
        "--at", metavar="TIME", help="As it was then: 03:12 (UTC), or 15m for 15 minutes ago."
    ),
]
Service = Annotated[str, typer.Argument(metavar="SERVICE", help="The service, as clients call it.")]
Model = Annotated[
    str,
    typer.Argument(metavar="NAME", help="ops@1.0.0, ops@champion, or ops for the highest version."),
]
Incident = Annotated[str, typer.Argument(metavar="INC-N", help="INC-31, or 31.")]
Runbook = Annotated[
    str, typer.Argument(metavar="NAME", help="As `paddock runbooks list` names it.")
]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many.")]


def together(command: Command) -> Command:
    """Have a command take one parameter, a dataclass, as options: one for each of its fields.

    Raises:
        TypeError: it takes no dataclass or several, or a field has no default.
    """
    hints = get_type_hints(command, include_extras=True)
    found = [name for name, hint in hints.items() if is_dataclass(hint)]
    if len(found) != 1:
        raise TypeError(f"{command.__name__} takes {len(found)} dataclasses; it needs to take one")
    (name,) = found
    kind = hints[name]
    if bare := [each.name for each in fields(kind) if each.default is MISSING]:
        raise TypeError(f"{kind.__name__}.{bare[0]} needs a default: an option can be left out")
    of_fields = get_type_hints(kind, include_extras=True)
    shared = [
        inspect.Parameter(
            each.name, inspect.Parameter.KEYWORD_ONLY, default=each.default,
            annotation=of_fields[each.name],
        )
        for each in fields(kind)
    ]  # fmt: skip
    taken: list[inspect.Parameter] = []
    for each in inspect.signature(command).parameters.values():
        taken += shared if each.name == name else [each.replace(annotation=hints[each.name])]

    async def run(*words: Any, **options: Any) -> Any:
        given = kind(**{each.name: options.pop(each.name) for each in shared})
        return await command(*words, **{name: given}, **options)

    wrapped: Any = functools.update_wrapper(run, command)
    del wrapped.__wrapped__  # whose parameters are others
    wrapped.__annotations__ = {each.name: each.annotation for each in taken}
    wrapped.__signature__ = inspect.Signature(taken)
    return cast("Command", wrapped)


class Commands(typer.Typer):
    """Commands, most of which are coroutines."""

    def take(self, *parts: Commands, after: str | None = None) -> None:
        """Have the commands of other modules as well: after one that is named, or at the end."""
        taken = [each for part in parts for each in part.registered_commands]
        at = len(self.registered_commands)
        if after is not None:
            names = [
                each.name or getattr(each.callback, "__name__", "")
                for each in self.registered_commands
            ]
            at = 1 + names.index(after)
        self.registered_commands[at:at] = taken

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Command], Command]:
        """Register a command; a coroutine is run to its end."""
        register = super().command(name, **settings)

        def add(work: Command) -> Command:
            if not inspect.iscoroutinefunction(work):
                return register(work)

            @functools.wraps(work)
            def run(*words: Any, **options: Any) -> Any:
                return terminal.run(work(*words, **options))

            register(run)
            return work

        return add


def group() -> Commands:
    """A noun's commands: plain text and our own errors; the noun alone shows its help."""
    return Commands(rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)


def alone() -> Commands:
    """A command that is no noun's, in plain text."""
    return Commands(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
