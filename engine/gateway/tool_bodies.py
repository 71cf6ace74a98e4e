"""The fields of a chat body that concern tools: the tools, the choice among them, and calls.

Checks what a schema alone cannot: names, contradictions, calls that do not belong together. Never
runs a tool. Imported by `engine.gateway.request_bodies`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from engine.execution import cut_arguments, job
from engine.gateway import containers, errors

TOOLS_LIMIT: Final = 128
CONTAINERS_LIMIT: Final = 1000
"""Lists and objects in the arguments of one call of an earlier turn."""
_NAME: Final = re.compile(r"[a-zA-Z0-9_.-]{1,128}")
_TYPES: Final = frozenset(("array", "boolean", "integer", "null", "number", "object", "string"))
_DEPTH: Final = 64


class Function(msgspec.Struct, gc=False):
    """What a tool is called, what it does, and the JSON schema of its arguments."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(msgspec.Struct, gc=False):
    """A tool; only functions are supported."""

    type: str
    function: Function | None = None


class Named(msgspec.Struct, gc=False):
    """The name of a function."""

    name: str


class AllowedTool(msgspec.Struct, gc=False):
    """One of the tools, by its name."""

    type: str
    function: Named | None = None


class Allowed(msgspec.Struct, gc=False):
    """Those of the tools that may be called, and whether one has to be."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[AllowedTool], Meta(min_length=1, max_length=TOOLS_LIMIT)]


class Choice(msgspec.Struct, gc=False):
    """The tool that has to be called, or those that may be."""

    type: str
    function: Named | None = None
    allowed_tools: Allowed | None = None


class CalledFunction(msgspec.Struct, gc=False):
    """The function of a call; `arguments` are JSON text."""

    name: str
    arguments: str = "{}"


class Call(msgspec.Struct, gc=False):
    """A call that an assistant made in an earlier turn."""

    function: CalledFunction
    id: Annotated[str, Meta(max_length=512)] = ""
    type: Literal["function"] = "function"


Calls = Annotated[list[Call], Meta(max_length=TOOLS_LIMIT)]
Tools = Annotated[list[Tool], Meta(max_length=TOOLS_LIMIT)]
ToolChoice = Literal["none", "auto", "required"] | Choice


def tools(sent: Sequence[Tool]) -> tuple[job.Tool, ...]:
    """The tools of a body.

    Raises:
        BadRequest: one is no function, or has a name or a schema that cannot be used.
    """
    found: list[tuple[str, Function]] = []
    for place, tool in enumerate(sent):
        where = f"tools[{place}]"
        if tool.type != "function":
            raise errors.invalid(
                f"{where}.type", f"tools of type {tool.type[:64]!r} are not supported"
            )
        if tool.function is None:
            raise errors.invalid(f"{where}.function", "a tool of type function needs this field")
        found.append((f"{where}.function", tool.function))
    return functions(found)


def functions(
    sent: Sequence[tuple[str, Function]], parameters: str = "parameters"
) -> tuple[job.Tool, ...]:
    """The tools that are functions, each with its place in the body.

    `parameters` is what the dialect calls that field.

    Raises:
        BadRequest: one has a name or a schema that cannot be used.
    """
    found: dict[str, job.Tool] = {}
    for where, function in sent:
        if not _NAME.fullmatch(function.name):
            raise errors.invalid(
                f"{where}.name",
                "a name has at most 128 letters, digits, underscores, dots and hyphens",
            )
        if function.name in found:
            raise errors.invalid(f"{where}.name", f"{function.name} names an earlier tool already")
        if function.parameters is not None:
            _check_parameters(function.parameters, f"{where}.{parameters}")
        found[function.name] = job.Tool(
            function.name, function.description, function.parameters, bool(function.strict)
        )
    return tuple(found.values())


def choice(sent: ToolChoice | None, given: Sequence[job.Tool]) -> tuple[str, str]:
    """Auto, none or required, and the only tool that may be called, "" for any.

    Raises:
        BadRequest: it asks for a call without tools, or names a tool that is not among them.
    """
    if isinstance(sent, Choice):
        if sent.type == "allowed_tools" and sent.allowed_tools is not None:
            return sent.allowed_tools.mode, ""
        if sent.type != "function" or sent.function is None:
            raise errors.invalid("tool_choice", "it is none, auto, required, or names functions")
        return named(sent.function.name, given, "tool_choice.function.name")
    if sent == "required" and not given:
        raise errors.invalid("tool_choice", "it asks for a call, and there are no tools")
    return sent or "auto", ""


def allowed(sent: ToolChoice | None, given: tuple[job.Tool, ...]) -> tuple[job.Tool, ...]:
    """The tools that the choice leaves.

    Raises:
        BadRequest: it names one that is not among them.
    """
    if not isinstance(sent, Choice) or sent.allowed_tools is None:
        return given
    names = set[str]()
    for place, tool in enumerate(sent.allowed_tools.tools):
        where = f"tool_choice.allowed_tools.tools[{place}]"
        if tool.type != "function" or tool.function is None:
            raise errors.invalid(where, "it names a function")
        named(tool.function.name, given, f"{where}.function.name")
        names.add(tool.function.name)
    return tuple(tool for tool in given if tool.name in names)


def named(name: str, given: Sequence[job.Tool], where: str) -> tuple[str, str]:
    """The choice of one tool, which has to be called; `where` is the place of its name.

    Raises:
        BadRequest: it is not among the tools.
    """
    if all(tool.name != name for tool in given):
        raise errors.invalid(where, f"{name[:128]!r} is not among the tools")
    return "required", name


def calls(sent: Sequence[Call], where: str) -> tuple[job.Call, ...]:
    """The calls of an assistant's turn.

    Raises:
        BadRequest: the arguments of one are not a JSON object, nor the beginning of one.
    """
    found = []
    for place, call in enumerate(sent):
        arguments = _object(call.function.arguments or "{}")
        if arguments is None:
            raise errors.invalid(
                f"{where}.tool_calls[{place}].function.arguments",
                f"arguments are a JSON object, as text, of at most {CONTAINERS_LIMIT} lists and "
                f"objects, {containers.DEPTH} within each other",
            )
        found.append(job.Call(call.id, call.function.name, arguments))
    return tuple(found)


def check_answers(messages: Sequence[job.Message]) -> None:
    """Refuse a turn of a tool that answers no earlier call.

    Raises:
        BadRequest: it has no `tool_call_id`, or one that no assistant's turn before it has.
    """
    made: set[str] = set()
    for place, message in enumerate(messages):
        if message.calls:
            made.update(call.id for call in message.calls)
        if message.role != "tool" or message.call_id in made:
            continue
        where = f"messages[{place}].tool_call_id"
        if not message.call_id:
            raise errors.invalid(
                where, "a message of role tool needs the id of the call that it answers"
            )
        raise errors.invalid(where, f"no message before it makes the call {message.call_id[:64]!r}")


def _check_parameters(schema: dict[str, Any], where: str) -> None:
    if schema.get("type", "object") != "object":
        raise errors.invalid(f"{where}.type", "the arguments of a function are an object")
    _check_schema(schema, where, _DEPTH)


def _check_schema(schema: object, where: str, depth: int) -> None:
    """Refuse what is no JSON schema by its form; keywords that are not known here are passed on."""
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise errors.invalid(where, "a JSON schema is an object")
    if not depth:
        raise errors.invalid(where, f"a schema may be nested {_DEPTH} levels deep")
    kind = schema.get("type", "object")
    kinds = kind if isinstance(kind, list) else [kind]
    if not all(isinstance(each, str) and each in _TYPES for each in kinds):
        raise errors.invalid(f"{where}.type", "this is no type of JSON schema")
    required = schema.get("required", [])
    if not (isinstance(required, list) and all(isinstance(each, str) for each in required)):
        raise errors.invalid(f"{where}.required", "this is a list of names")
    for place, inner in _inside(schema, where):
        _check_schema(inner, place, depth - 1)


def _inside(schema: dict[str, Any], where: str) -> Iterator[tuple[str, object]]:
    """The schemas within a schema, with their places."""
    properties = schema.get("properties", {})
    if not isinstance(properties, dict):
        raise errors.invalid(f"{where}.properties", "this is an object of schemas")
    for name, inner in properties.items():
        yield f"{where}.properties.{name[:64]}", inner
    if "items" in schema and not isinstance(schema["items"], list):
        yield f"{where}.items", schema["items"]
    for combined in ("anyOf", "oneOf", "allOf"):
        options = schema.get(combined, [])
        if not isinstance(options, list):
            raise errors.invalid(f"{where}.{combined}", "this is a list of schemas")
        for place, inner in enumerate(options):
            yield f"{where}.{combined}[{place}]", inner


def _object(arguments: str) -> str | None:
    """The object that arguments are, or begin; None for others, and what takes time to decode."""
    if not containers.within(arguments.encode("utf-8", "replace"), CONTAINERS_LIMIT):
        return None
    return cut_arguments.whole(arguments)
