"""What a template may make: a Jinja sandbox whose operators, calls and filters are bounded in size.

The reach of templates is Jinja's own sandbox; this adds that they can not fill the memory. Imported
by `engine.traffic.sandbox`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import jinja2
import jinja2.nodes
import jinja2.sandbox
from jinja2.compiler import CodeGenerator, Frame

SIZE_LIMIT: Final = 8_000_000
_NUMBER_LIMIT: Final = 100_000
_WIDTH: Final = re.compile(r"\d{5}")


class _Generator(CodeGenerator):
    """Writes Jinja's `~` as a call that is bounded, like the other operators."""

    def visit_Concat(self, node: jinja2.nodes.Concat, frame: Frame) -> None:  # noqa: N802 theirs
        self.write("environment.chain((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")


class Environment(jinja2.sandbox.ImmutableSandboxedEnvironment):
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
            check_size(_size(left) * _size(right))
        if operator == "+":
            check_size(_size(left) + _size(right))
        if operator == "%" and isinstance(left, str):
            _check_widths(left)
        return super().call_binop(context, operator, left, right)

    def chain(self, parts: tuple[Any, ...]) -> str:
        """What `~` means."""
        texts = [str(part) for part in parts]
        check_size(sum(map(len, texts)))
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


def check_size(size: int) -> None:
    """OverflowError when a template makes too much."""
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
        check_size(len(owner) * len(args[0]))


def _check_replace(text: Any, args: tuple[Any, ...]) -> None:
    if len(args) > 1:
        old, new = str(args[0]), str(args[1])
        check_size(len(str(text)) // max(1, len(old)) * len(new))


def guarded(name: str, filter_: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that looks at what it is given first."""
    skipped = 1 if hasattr(filter_, "jinja_pass_arg") else 0

    @functools.wraps(filter_)
    def bounded(*args: Any, **kwargs: Any) -> Any:
        _check_numbers(args[skipped + 1 :], kwargs)
        if name == "replace":
            _check_replace(args[skipped], args[skipped + 1 :])
        return filter_(*args, **kwargs)

    return bounded
