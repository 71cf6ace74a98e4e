"""Errors that are shown to the person at the terminal, and their exit codes.

    AppError            1  refused or failed
      Stopped           1  the person declined; nothing was changed
      NodeIsDown        3  what was asked needs a running node
      NodeDidNotStart   1  the node ended, or was not ready in time
      BadWord           2  an argument cannot be read
      Waits             4  the change is stored and not carried out yet; so is what a node
                           did not answer, which is one of storage.errors

The message is shown as it is and says what to do next. Imported by `app` only.
"""

from __future__ import annotations

from typing import ClassVar


class AppError(Exception):
    """Shown as a sentence, never as a traceback."""

    exit_code: ClassVar[int] = 1


class Stopped(AppError):
    """Nothing was changed."""


class NodeIsDown(AppError):
    """The node is not running; start it with `paddock serve`."""

    exit_code: ClassVar[int] = 3


class NodeDidNotStart(AppError):
    """The node did not start; its log says why."""


class BadWord(AppError):
    """An argument on the command line cannot be read."""

    exit_code: ClassVar[int] = 2


class Waits(AppError):
    """What was asked is stored and has not ended; `paddock intents tail` shows how it ends."""

    exit_code: ClassVar[int] = 4
