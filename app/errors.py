"""What a person at the terminal can be told, and the exit code that goes with it.

    AppError            1  refused or failed
      Stopped           1  the person said no; nothing was changed
      NodeIsDown        3  what was asked needs a running node
      NodeDidNotStart   1  the node ended, or was not ready in time
      BadWord           2  a word on the command line cannot be read
      Waits             4  it is stored and will be done or refused, but was not yet

The message is shown as it is, in one sentence that says what to do next. Imported by `app` only.
"""

from __future__ import annotations

from typing import ClassVar


class AppError(Exception):
    """Something that is told in a sentence, never as a traceback."""

    exit_code: ClassVar[int] = 1


class Stopped(AppError):
    """Nothing was changed."""


class NodeIsDown(AppError):
    """The node is not running; start it with `paddock serve`."""

    exit_code: ClassVar[int] = 3


class NodeDidNotStart(AppError):
    """The node did not start; its log says why."""


class BadWord(AppError):
    """A word on the command line cannot be read."""

    exit_code: ClassVar[int] = 2


class Waits(AppError):
    """What was asked is stored and has not ended; `paddock intents tail` shows how it ends."""

    exit_code: ClassVar[int] = 4
