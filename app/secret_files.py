"""Secrets that a command deposits: read from a file or standard input, withdrawn if not needed.

Never prints one. Imported by `app.commands`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from app import errors, session
from app.actions import Done
from storage.errors import StorageError
from storage.home import secrets
from storage.rollouts import Rollout
from storage.services import Service


class Deposits:
    """The secrets that one action needs."""

    def __init__(self) -> None:
        """None yet."""
        self._references: list[str] = []

    def add(self, source: str, what: str) -> str:
        """Keep the secret of a file, or of standard input (-); the reference to it.

        `what` names it in errors: The API key.

        Raises:
            errors.AppError: the file cannot be read.
        """
        reference = secrets.deposit(session.home(), _read(source, what), what)
        self._references.append(reference)
        return reference

    def settle(self, done: Done) -> None:
        """Withdraw them if the action was refused."""
        if not done.ok and not done.waits:
            self.withdraw()

    def withdraw(self) -> None:
        """Remove them: they are not used."""
        for reference in self._references:
            withdraw(reference)


@contextmanager
def deposits() -> Iterator[Deposits]:
    """For one action; withdrawn if it is not asked for after all, or turned away."""
    made = Deposits()
    try:
        yield made
    except (StorageError, errors.AppError):
        made.withdraw()
        raise


def withdraw(deposited: str | None) -> None:
    """Remove a secret that is not in use: it was refused, or replaced."""
    if deposited is not None:
        secrets.discard(session.home(), deposited)


def without(record: Service | Rollout) -> dict[str, Any]:
    """A record as JSON has it: whether its webhooks are signed, not the reference to the key."""
    document: dict[str, Any] = msgspec.to_builtins(record)
    document["webhooks_signed"] = document.pop("webhook_secret") is not None
    return document


def _read(source: str, what: str) -> str:
    if source == "-":
        return sys.stdin.read(secrets.LIMIT + 2)
    try:
        with Path(source).expanduser().open(encoding="utf-8") as file:
            return file.read(secrets.LIMIT + 2)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise errors.AppError(f"{what} cannot be read from {source}: {why}.") from error
