"""Jinja templates of strangers, rendered within bounds of reach, time and size.

Templates come from people's prompt versions and from the headers of GGUF files. They see what they
are given and nothing else, stop after a quarter of a second, and can not fill the memory. Knows
nothing of prompts or models. Imported by `engine.traffic`.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from types import FrameType
from typing import Any, Final

import jinja2
import jinja2.nodes
import jinja2.sandbox
from jinja2.compiler import CodeGenerator, Frame

SIZE_LIMIT: Final = 8_000_000
TIME_LIMIT_S: Final = 0.25
_NUMBER_LIMIT: Final = 100_000
_FILE: Final = "<template>"
_WIDTH: Final = re.compile(r"\d{5}")
_DROPPED: Final = ("center", "format", "wordwrap", "batch", "slice", "urlize", "xmlattr", "pprint")


class TemplateFault(Exception):
    """The template could not be rendered; `line` is where, 0 where that is unknown."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


class Raised(TemplateFault):
    """The template itself refused what it was given, by `raise_exception`."""


class _TooLong(Exception):
    """It ran longer than a quarter of a second."""


class _Generator(CodeGenerator):
    """Writes Jinja's `~` as a call that is bounded, like the other operators."""

    def visit_Concat(self, node: jinja2.nodes.Concat, frame: Frame) -> None:  # noqa: N802 theirs
        self.write("environment.chain((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")


class _Sandbox(jinja2.sandbox.ImmutableSandboxedEnvironment):
    """Bounds on what an operator, a call or a filter may make."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})
    code_generator_class = _Generator

    def call_binop(
        self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any
    ) -> Any:
        """Sums and products stay small; powers are not needed."""
        if operator == "**":
            raise OverflowError("powers are not allowed in templates")
        if operator == "*":
            _bounded(_size(left) * _size(right))
        if operator == "+":
            _bounded(_size(left) + _size(right))
        if operator == "%" and isinstance(left, str):
            _check_widths(left)
        return super().call_binop(context, operator, left, right)

    def chain(self, parts: tuple[Any, ...]) -> str:
        """What `~` means."""
        texts = [str(part) for part in parts]
        _bounded(sum(map(len, texts)))
        return "".join(texts)

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Calls are looked at before they are made; `args` are context, callee, arguments."""
        callee, given = args[1], args[2:]
        owner = getattr(callee, "__self__", None)
        if isinstance(owner, str):
            _check_text_method(callee.__name__, owner, given)
        _check_numbers(given, kwargs)
        return super().call(*args, **kwargs)


def _size(value: Any) -> int:
    if isinstance(value, int):
        return abs(value)
    return len(value) if isinstance(value, str | list | tuple) else 1


def _bounded(size: int) -> None:
    if size > SIZE_LIMIT:
        raise OverflowError(f"it makes more than {SIZE_LIMIT} characters")


def _check_widths(form: str) -> None:
    if _WIDTH.search(form):
        raise OverflowError("a width in a format is too large")


def _check_numbers(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    for value in (*args, *kwargs.values()):
        if isinstance(value, int) and abs(value) > _NUMBER_LIMIT:
            raise OverflowError(f"{value} is too large a number for a call in a template")


def _check_text_method(name: str, owner: str, args: tuple[Any, ...]) -> None:
    if name in {"format", "format_map"}:
        _check_widths(owner)
    elif name == "replace":
        _check_replace(owner, args)
    elif name == "join" and args and hasattr(args[0], "__len__"):
        _bounded(len(owner) * len(args[0]))


def _check_replace(text: Any, args: tuple[Any, ...]) -> None:
    if len(args) > 1:
        old, new = str(args[0]), str(args[1])
        _bounded(len(str(text)) // max(1, len(old)) * len(new))


def _guarded(name: str, filter_: Callable[..., Any]) -> Callable[..., Any]:
    skipped = 1 if hasattr(filter_, "jinja_pass_arg") else 0

    @functools.wraps(filter_)
    def bounded(*args: Any, **kwargs: Any) -> Any:
        _check_numbers(args[skipped + 1 :], kwargs)
        if name == "replace":
            _check_replace(args[skipped], args[skipped + 1 :])
        return filter_(*args, **kwargs)

    return bounded


def _json(value: Any, indent: int | None = None, **_: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise(message: object) -> None:
    raise Raised(str(message))


class Sandbox:
    """Compiles and renders.

    `strict` makes a name that is not given an error, as people's own prompts want it; without, an
    unknown name is empty and blocks leave no blank lines, as chat templates expect.
    """

    def __init__(self, *, strict: bool) -> None:
        self._environment = _Sandbox(
            undefined=jinja2.StrictUndefined if strict else jinja2.Undefined,
            trim_blocks=not strict,
            lstrip_blocks=not strict,
            keep_trailing_newline=strict,
            extensions=["jinja2.ext.loopcontrols"],
        )
        filters = self._environment.filters
        for name in _DROPPED:
            filters.pop(name, None)
        filters["tojson"] = _json
        self._environment.filters = {n: _guarded(n, f) for n, f in filters.items()}
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
                    _bounded(size)
                    pieces.append(piece)
        except Raised as raised:
            raise Raised(str(raised), _line(raised)) from raised
        except _TooLong as error:
            message = f"it ran longer than {TIME_LIMIT_S:g} s"
            raise TemplateFault(message, _line(error)) from error
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
    """Interrupts the body with _TooLong; only the main thread can be interrupted so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if signal.getsignal(signal.SIGALRM) is not _ring:
        signal.signal(signal.SIGALRM, _ring)
    _Alarm.armed = True
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        _Alarm.armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
