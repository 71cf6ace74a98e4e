"""A Jinja sandbox with bounds on size and time.

Jinja's own sandbox limits what templates can access. This one also keeps them from filling memory:
the result of an operator, a method, a filter, a block or an output is measured before it is made.
And it keeps them from running for long: the compiled template checks the time before each
statement, comparison, operator, call, filter and test, so that nearly every fault ends with the
line that causes it. For the rest, such as comparing deeply shared values, the pool kills the
process. Imported by `sandbox`.
"""

from __future__ import annotations

import contextlib
import functools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, cast

import jinja2
import jinja2.nodes
import jinja2.sandbox
from jinja2.compiler import CodeGenerator, Frame

from engine.prompting.renderer import sizes

_NUMBER_LIMIT: Final = 100_000
_CONVERTING: Final = frozenset((
    "capitalize", "e", "escape", "forceescape", "indent", "lower", "replace", "string", "striptags",
    "sum", "title", "trim", "truncate", "upper", "urlencode", "wordcount",
))  # fmt: skip
"""Filters that convert any value to text, or add values up."""
_LISTING: Final = frozenset(("list", "sort", "unique", "groupby", "map", "select", "reject"))
"""Filters that treat a text as a list of its characters."""
_FOLDING: Final = frozenset(("sort", "unique", "groupby", "min", "max", "dictsort"))
"""Filters that compare lower-case copies of all their texts."""
_CUTTING: Final = frozenset(("striptags", "title", "wordcount"))
_BYTES: Final = frozenset(("encode", "to_bytes", "fromhex"))


class OutOfTime(Exception):
    """The template exceeded its time."""


class _Generator(CodeGenerator):
    """Writes `~` as a bounded call, bounded buffers, and checks of the time.

    Between two checks is one operation on values that are bounded in size.
    """

    def blockvisit(self, nodes: Iterable[jinja2.nodes.Node], frame: Frame) -> None:
        for node in nodes:
            self.writeline("environment.in_time()", node)
            super().blockvisit([node], frame)
        self.writeline("environment.in_time()")  # the body of a loop may be empty

    def visit_Compare(self, node: jinja2.nodes.Compare, frame: Frame) -> None:  # noqa: N802 theirs
        self.write("(environment.in_time() and ")
        super().visit_Compare(node, frame)
        self.write(")")

    def visit_Concat(self, node: jinja2.nodes.Concat, frame: Frame) -> None:  # noqa: N802 theirs
        self.write("environment.chain((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def buffer(self, frame: Frame) -> None:
        frame.buffer = self.temporary_identifier()
        self.writeline(f"{frame.buffer} = environment.buffer()")


class _Buffer(list[str]):
    """The pieces of a macro or a block."""

    def __init__(self) -> None:
        super().__init__()
        self._size = 0

    def append(self, piece: str) -> None:
        self._size += len(piece)
        sizes.check(self._size)
        super().append(piece)

    def extend(self, pieces: Iterable[str]) -> None:
        for piece in pieces:
            self.append(piece)


class Environment(jinja2.sandbox.ImmutableSandboxedEnvironment):
    """Bounds the results of operators, calls, filters and blocks."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})
    code_generator_class = _Generator
    buffer = _Buffer

    def __init__(self, **options: Any) -> None:
        super().__init__(finalize=_printed, **options)
        self._wall_s = self._cpu_s = math.inf

    def bind(self, filters: Mapping[str, Callable[..., Any]]) -> None:
        """Bound these filters, remove all others, and bound Jinja's tests; call it once."""
        self.filters = {name: self._guarded(name, each) for name, each in filters.items()}
        tests = cast("dict[str, Callable[..., Any]]", self.tests)
        self.tests = {name: self._timed(each) for name, each in tests.items()}

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Limit the processor time of templates rendered in the body."""
        self._wall_s = time.monotonic() + seconds  # it cannot be used up before
        self._cpu_s = time.process_time() + seconds
        try:
            yield
        finally:
            self._wall_s = self._cpu_s = math.inf

    def in_time(self) -> bool:
        """True.

        Raises:
            OutOfTime: the time is up.
        """
        if time.monotonic() > self._wall_s and time.process_time() > self._cpu_s:
            raise OutOfTime
        return True

    def _timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            self.in_time()
            return function(*args, **kwargs)

        return timed

    def _guarded(self, name: str, filter_: Callable[..., Any]) -> Callable[..., Any]:
        """A filter that checks its arguments and the time first."""
        skipped = 1 if hasattr(filter_, "jinja_pass_arg") else 0

        @functools.wraps(filter_)
        def bounded(*args: Any, **kwargs: Any) -> Any:
            self.in_time()
            before, value, given = args[:skipped], args[skipped], args[skipped + 1 :]
            _check_numbers(given, kwargs)
            if name == "join":
                between = sizes.weight(_first([*given], kwargs, "d", ""), as_text=True)
                value = sizes.measured(value, between, as_text=True)
            _check_filter(name, value, given, kwargs)
            made = filter_(*before, value, *given, **kwargs)
            return self._items(made) if isinstance(made, Iterator) else made

        return bounded

    def _items(self, made: Iterator[Any]) -> Iterator[Any]:
        for item in sizes.measured(made):
            self.in_time()
            yield item

    @staticmethod
    def concat(pieces: Iterable[str]) -> str:
        """Join the pieces of a block."""
        return "".join(sizes.measured(pieces, 0))

    def getitem(self, obj: Any, argument: Any) -> Any:
        """`obj[argument]`, also for filters by attribute: an error would repeat the argument."""
        self.in_time()
        if isinstance(argument, list | dict | set):
            raise TypeError(f"a {type(argument).__name__} is no key")
        if not isinstance(argument, str):
            sizes.check(sizes.weight(argument, as_text=True))
        return super().getitem(obj, argument)

    def call_binop(
        self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any
    ) -> Any:
        """Sums and products stay small; powers are not needed."""
        self.in_time()
        if operator == "**":
            raise OverflowError("powers are not allowed in templates")
        if operator == "*":
            sizes.check(_size(left) * _size(right))
            for items, times in ((left, right), (right, left)):
                if isinstance(items, list | tuple) and isinstance(times, int):
                    sizes.check_count(len(items) * times)
        if operator == "+":
            sizes.check(_added(left) + _added(right))
        if operator == "%" and isinstance(left, str):
            sizes.check_form(left, "%", right if isinstance(right, tuple | dict) else (right,))
        return super().call_binop(context, operator, left, right)

    def chain(self, parts: tuple[Any, ...]) -> str:
        """The operator `~`."""
        sizes.check(sum(sizes.weight(part, as_text=True) for part in parts))
        texts = [str(part) for part in parts]
        sizes.check(sum(map(len, texts)))
        return "".join(texts)

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Calls are checked before they are made; `args` are context, callee, arguments."""
        self.in_time()
        context, callee, *given = args
        owner = getattr(getattr(callee, "__wrapped__", callee), "__self__", None)
        name = getattr(callee, "__name__", "")
        _check_numbers(given, kwargs)
        if name in _BYTES and not isinstance(owner, Mapping):
            raise OverflowError("bytes are not needed in templates")
        if isinstance(owner, str):
            _check_text_method(name, owner, given, kwargs)
            if name == "join" and given:
                given[0] = list(sizes.measured(given[0], len(owner)))
        return super().call(context, callee, *given, **kwargs)


def _printed(value: Any) -> Any:
    """A value that is printed."""
    if not isinstance(value, str):
        sizes.check(sizes.weight(value, as_text=True))
    return value


def _size(value: Any) -> int:
    if isinstance(value, int):
        return abs(value)
    return len(value) if isinstance(value, str | list | tuple) else 1


def _added(value: Any) -> int:
    return sizes.weight(value) if isinstance(value, list | tuple) else _size(value)


def _check_numbers(args: Iterable[Any], kwargs: Mapping[str, Any]) -> None:
    for value in (*args, *kwargs.values()):
        if isinstance(value, int) and abs(value) > _NUMBER_LIMIT:
            raise OverflowError(f"{value} is too large a number for a call in a template")


def _check_text_method(name: str, owner: str, args: list[Any], kwargs: Mapping[str, Any]) -> None:
    match name:
        case "format":
            sizes.check_form(owner, "{", (*args, *kwargs.values()))
        case "format_map":
            sizes.check_form(owner, "{", args[0] if args and isinstance(args[0], dict) else ())
        case "replace":
            _check_replace(owner, args)
        case "expandtabs":
            wide = _first(args, kwargs, "tabsize", 8)
            sizes.check(len(owner) + owner.count("\t") * (wide if isinstance(wide, int) else 0))
        case "translate":
            sizes.check(len(owner) * max(1, sizes.weight(args)))
        case "split" | "rsplit":
            sizes.check_count(sizes.pieces(owner, _first(args, kwargs, "sep", None)))
        case "splitlines":
            sizes.check_count(sizes.pieces(owner, None))


def _first(args: list[Any], kwargs: Mapping[str, Any], name: str, default: Any) -> Any:
    return args[0] if args else kwargs.get(name, default)


def _second(args: tuple[Any, ...], kwargs: Mapping[str, Any], name: str) -> Any:
    return args[1] if len(args) > 1 else kwargs.get(name)


def _check_replace(text: str, args: Iterable[Any]) -> None:
    texts = [str(each) for each in args]
    if len(texts) > 1:
        old, new = texts[:2]
        sizes.check(len(text) + (text.count(old) if old else len(text) + 1) * len(new))


def _check_filter(name: str, value: Any, given: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    if name in _CONVERTING:
        sizes.check(sizes.weight((value, given, kwargs), as_text=not isinstance(value, str)))
    if name in _LISTING and isinstance(value, str):
        sizes.check_count(len(value))
    if name in _FOLDING and not isinstance(value, str):
        sizes.check(sizes.weight(value))
    if name == "groupby" and (default := _second(given, kwargs, "default")) is not None:
        sizes.check(_size(value) * sizes.weight(default))
    if name in _CUTTING and isinstance(value, str):
        sizes.check_count(len(value) // 2)
    if name == "replace":
        text = str(value)
        _check_replace(
            text, (*given, *(kwargs[each] for each in ("s", "old", "new") if each in kwargs))
        )
    if name == "indent" and isinstance(value, str):
        wide = _first([*given], kwargs, "width", 4)
        sizes.check(len(value) + sizes.pieces(value, None) * _size(wide))
