"""Untrusted Jinja templates, rendered within bounds of reach, time and size.

Templates come from people's prompt versions and from the headers of GGUF files. They reach what
they are given and nothing else, stop after 0.25 s of CPU time, and cannot fill the memory. Knows
nothing of prompts or models. Imported by `engine.prompting` and `engine.control`.
"""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from types import FrameType
from typing import Any, Final

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser

from engine.prompting import bounds, sizes

TIME_LIMIT_S: Final = 0.25
_MANY: Final = 500
_LARGE: Final = 100_000
"""Texts, and characters of them all, that any sound template renders in time."""
_FILE: Final = "<template>"
_DROPPED: Final = ("center", "format", "wordwrap", "batch", "slice", "urlize", "xmlattr", "pprint")


class TemplateFault(Exception):
    """The template could not be rendered; `line` is where, 0 where that is unknown."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


class Exceeded(TemplateFault):
    """It ran too long or made too much: the template's fault, or that of what it was given."""


class Raised(TemplateFault):
    """The template itself refused what it was given, by `raise_exception`."""


class _TooLong(Exception):
    """It computed longer than the limit."""


def _json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    encoder = json.JSONEncoder(
        ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
    return "".join(sizes.measured(encoder.iterencode(value), 0))


def _raise(message: object) -> None:
    raise Raised(str(message))


def large(texts: Sequence[str]) -> bool:
    """Whether a sound template may exceed its bounds with so much text."""
    return len(texts) > _MANY or sum(map(len, texts)) > _LARGE


class Generation(Extension):
    """`{% generation %}` marks what the assistant wrote, for training; it renders its body."""

    tags = {"generation"}  # noqa: RUF012 declared so by Extension

    def parse(self, parser: Parser) -> nodes.Node:
        """The body, with a scope of its own."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


class Sandbox:
    """Compiles and renders.

    `strict` makes a name that is not given an error, as people's own prompts want it; without, an
    unknown name is empty and blocks leave no blank lines, as chat templates expect.
    """

    def __init__(self, *, strict: bool) -> None:
        self._environment = bounds.Environment(
            undefined=jinja2.StrictUndefined if strict else jinja2.Undefined,
            trim_blocks=not strict,
            lstrip_blocks=not strict,
            keep_trailing_newline=strict,
            extensions=["jinja2.ext.loopcontrols", Generation],
        )
        filters = self._environment.filters
        for name in _DROPPED:
            filters.pop(name, None)
        filters["tojson"] = _json
        self._environment.filters = {n: bounds.guarded(n, f) for n, f in filters.items()}
        self._environment.globals = {
            "range": self._environment.globals["range"],
            "namespace": self._environment.globals["namespace"],
            "dict": dict,
            "raise_exception": _raise,
            "strftime_now": lambda form: datetime.now(UTC).strftime(form),
        }

    def compile(self, source: str) -> jinja2.Template:
        """The template.

        Raises:
            TemplateFault: it is none; `line` says where.
        """
        try:
            return self._environment.from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise TemplateFault(error.message or "it is no template", error.lineno) from error
        except (RecursionError, OverflowError, MemoryError) as error:
            raise TemplateFault("it is nested too deeply or too large") from error

    def render(self, template: jinja2.Template, values: Mapping[str, object]) -> str:
        """The text.

        Raises:
            TemplateFault: it went wrong, ran too long or grew too large; `line` says where.
        """
        pieces: list[str] = []
        size = 0
        try:
            with _time_limit(TIME_LIMIT_S):
                for piece in template.generate(values):
                    size += len(piece)
                    sizes.check(size)
                    pieces.append(piece)
        except Raised as raised:
            raise Raised(str(raised), _line(raised)) from raised
        except _TooLong as error:
            message = f"it ran longer than {TIME_LIMIT_S:g} s"
            raise Exceeded(message, _line(error)) from error
        except OverflowError as error:
            raise Exceeded(str(error), _line(error)) from error
        except RecursionError as error:
            raise TemplateFault("it calls itself without end", _line(error)) from error
        except Exception as error:  # whatever a stranger's template can raise
            raise TemplateFault(str(error) or type(error).__name__, _line(error)) from error
        return "".join(pieces)


def _line(error: BaseException) -> int:
    """The innermost line of the template in a traceback, 0 when there is none."""
    found, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == _FILE:
            found = trace.tb_lineno
        trace = trace.tb_next
    return found


class _Alarm:
    """Whether a rendering is under its limit; the signal's handler asks."""

    armed = False


def _ring(_number: int, _frame: FrameType | None) -> None:
    if _Alarm.armed:
        _Alarm.armed = False
        raise _TooLong


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Interrupt the body with _TooLong after so much CPU time, however busy the machine is.

    Only the main thread can be interrupted so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if signal.getsignal(signal.SIGVTALRM) is not _ring:
        signal.signal(signal.SIGVTALRM, _ring)
    _Alarm.armed = True
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        _Alarm.armed = False
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
