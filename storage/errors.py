"""The errors of storage; each message says what to do next.

    StorageError
      NotFound         there is no such thing; the message lists what there is
      AlreadyExists    the name is taken by something else
      Moved            it changed since you looked
      Frozen           it is frozen against changes; the message says by whom and why
      NotOwner         a rollout or an A/B test owns it; the message says which
      Invalid          a value that no record may hold
        BadName        a name that breaks the rule for names
        BadArguments   the arguments of a verb; the message names the field
      ConstraintViolated  a row breaks a rule of the schema: a fault in Paddock
      Unavailable      the store cannot be used just now
        DiskFull       no room; nothing was lost, nothing was written
        Busy           another process holds it for too long
        Vanished       the file is gone, or another is in its place
        Unreadable     the file is damaged or is not a database
        WrongSchema    written by a newer Paddock, or not yet migrated by this one
        NotPrivate     the home is not ours alone
        PepperLost     API keys cannot be checked; the message says what to do
        Closed         the home is not open to this user
        NotAHome       something in the home is not the directory it should be
      ConfigError      config.toml; the message names the key
      ControlSocketError  the node did not do what was asked
        NodeIsDown     the node is not running
        Unanswered     the node did not answer; whether it stored the request is not known
        NotAllowed     the role does not suffice
        Refused        asked wrongly; the message says how

Imports nothing, so that every package may import it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final


class StorageError(Exception):
    """The family of all errors of storage; the text says what to do."""


class NotFound(StorageError):
    """There is no such thing; look at the known names."""


class AlreadyExists(StorageError):
    """The name is taken; choose another."""


class Moved(StorageError):
    """It changed since you looked; look again and decide again."""


class Frozen(StorageError):
    """It is frozen against changes; unfreeze it, or leave it as it is."""


class NotOwner(StorageError):
    """A rollout or an A/B test owns it; ask there."""


class Invalid(StorageError):
    """A value that no record may hold; the message says what is allowed."""


class BadName(Invalid):
    """Names are `[a-z0-9][a-z0-9_.-]{0,35}`."""


class BadArguments(Invalid):
    """The arguments do not fit the verb; the message names the field."""


class ConstraintViolated(StorageError):
    """A row breaks a rule of the schema: a fault in Paddock, not in what was asked."""


class Unavailable(StorageError):
    """The store cannot be used just now; the message says why."""


class DiskFull(Unavailable):
    """There is no room on the disk; make some and try again."""


class Busy(Unavailable):
    """Another process holds the store; try again."""


class Vanished(Unavailable):
    """The file of the store is gone, or another is in its place; the message says what to do."""


class Unreadable(Unavailable):
    """The file is damaged or is not a database; restore it or move it away."""


class WrongSchema(Unavailable):
    """The store was written by another version of Paddock."""


class PepperLost(Unavailable):
    """The file that API keys are checked with is missing or another one; the rest works."""


class NotPrivate(Unavailable):
    """The data directory belongs to, or can be read by, another user."""


class Closed(Unavailable):
    """The home is not open to this user; the message says who can open it."""


class NotAHome(Unavailable):
    """A path that should be a directory of the home is something else."""


class ConfigError(StorageError):
    """config.toml cannot be used; the message names the key."""


class ControlSocketError(StorageError):
    """The node did not do what was asked."""


class NodeIsDown(ControlSocketError):
    """The node is not running; start it with `paddock serve`."""


class Unanswered(ControlSocketError):
    """The node did not answer in time; the message says what became of the request."""


class NotAllowed(ControlSocketError):
    """Your role does not suffice; ask an operator or an admin."""


class Refused(ControlSocketError):
    """The node refused; the message says what to ask instead."""


SHOWN: Final = 12
"""Names that an error lists at most."""


def unknown(noun: str, name: object, known: Sequence[str], total: int | None = None) -> NotFound:
    """NotFound with the first of the names there are; `total` is how many there are in all."""
    if not known:
        return NotFound(f"There is no {noun} {name}; there is none yet.")
    shown = known[:SHOWN]
    more = (total or len(known)) - len(shown)
    listed = ", ".join(shown) + (f" and {more} more" if more else "")
    return NotFound(f"There is no {noun} {name}; known: {listed}.")
