"""Untrusted Jinja templates, rendered within bounds of reach, time and size.

Templates come from people's prompt versions and from the headers of GGUF files. They reach their
values and nothing else, stop when their processor time is used up, and cannot fill the memory.
Knows nothing of prompts or models. Imported by `compiled` and `process`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import jinja2
from jinja2 import meta, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser

from engine.prompting.renderer import bounds, sizes
from engine.prompting.renderer.faults import Exceeded, Raised, TemplateFault

SOURCE_LIMIT: Final = 1_000_000
"""Characters of one template; those of real models have up to 30,000."""
_FORM: Final = 200
"""Characters of a date's format; each field of it may be padded to thousands."""
_FILE: Final = "<template>"
_DROPPED: Final = ("center", "format", "wordwrap", "batch", "slice", "urlize", "xmlattr", "pprint")


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


def _strftime_now(form: str) -> str:
    if len(form) > _FORM:
        raise OverflowError(f"strftime_now takes at most {_FORM} characters")
    return datetime.now(UTC).strftime(form)


class Generation(Extension):
    """`{% generation %}` marks what the assistant wrote, for training; it renders its body."""

    tags = {"generation"}  # noqa: RUF012 declared so by Extension

    def parse(self, parser: Parser) -> nodes.Node:
        """The body, in a new scope."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


class Sandbox:
    """Compiles and renders.

    With `strict` an unknown name is an error, as people's own prompts want it; without, it is
    empty, and blocks leave no blank lines, as chat templates expect.
    """

    def __init__(self, *, strict: bool) -> None:
        self._environment = bounds.Environment(
            undefined=jinja2.StrictUndefined if strict else jinja2.Undefined,
            trim_blocks=not strict,
            lstrip_blocks=not strict,
            keep_trailing_newline=strict,
            extensions=["jinja2.ext.loopcontrols", Generation],
        )
        filters = {n: f for n, f in self._environment.filters.items() if n not in _DROPPED}
        self._environment.bind({**filters, "tojson": _json})
        self._environment.globals = {
            "range": self._environment.globals["range"],
            "namespace": self._environment.globals["namespace"],
            "dict": dict,
            "raise_exception": _raise,
            "strftime_now": _strftime_now,
        }

    def compile(self, source: str) -> jinja2.Template:
        """The template.

        Raises:
            TemplateFault: it is not a template; `line` says where.
        """
        if len(source) > SOURCE_LIMIT:
            raise TemplateFault(
                f"it has {len(source)} characters; a template may have {SOURCE_LIMIT}"
            )
        try:
            return self._environment.from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise TemplateFault(error.message or "not a template", error.lineno) from error
        except ValueError as error:  # of all literals, only a number can be unreadable here
            raise TemplateFault("a number in it has too many digits") from error
        except (SyntaxError, RecursionError, OverflowError) as error:
            raise TemplateFault("it is nested too deeply or too large to compile") from error
        except MemoryError:
            raise
        except Exception as error:  # an untrusted template can raise anything
            raise TemplateFault(f"it cannot be compiled: {_said(error)}") from error

    def names(self, source: str) -> frozenset[str]:
        """The variables that a template uses; it has been compiled before."""
        used = meta.find_undeclared_variables(self._environment.parse(source))
        return frozenset(used - self._environment.globals.keys())

    def render(self, template: jinja2.Template, values: Mapping[str, object], cpu_s: float) -> str:
        """The text; `cpu_s` bounds the processor time.

        Raises:
            TemplateFault: it failed, ran too long or grew too large; `line` says where.
        """
        pieces: list[str] = []
        size = 0
        try:
            with self._environment.within(cpu_s):
                for piece in template.generate(values):
                    size += len(piece)
                    sizes.check(size)
                    pieces.append(piece)
        except Raised as raised:
            raise Raised(str(raised), _line(raised)) from raised
        except bounds.OutOfTime as error:
            message = f"it ran longer than {cpu_s:g} s"
            raise Exceeded(message, _line(error)) from error
        except OverflowError as error:
            raise Exceeded(str(error), _line(error)) from error
        except RecursionError as error:
            raise TemplateFault("it calls itself without end", _line(error)) from error
        except MemoryError:
            raise
        except Exception as error:  # an untrusted template can raise anything
            raise TemplateFault(_said(error), _line(error)) from error
        return "".join(pieces)


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


def _line(error: BaseException) -> int:
    """The innermost line of the template in a traceback, 0 when there is none."""
    found, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == _FILE:
            found = trace.tb_lineno
        trace = trace.tb_next
    return found
