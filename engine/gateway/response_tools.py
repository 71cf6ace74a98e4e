"""The tools of a body of the Responses API: functions, namespaces of them, and what is left out.

A namespace groups functions, and calls name it beside the function; to the model they are one
name.
Of the tools of OpenAI's servers those that a model may well do without are left out: the answer's
`tools` are the ones that it was offered. Imported by `engine.gateway.responses_bodies` and
`responses_format`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from engine.execution import job
from engine.gateway import errors, tool_bodies

_JOINED: Final = "__"
_LEFT_OUT: Final = ("web_search", "web_search_preview")
"""Codex offers it to every model; versions have a date behind the name."""

_Name = Annotated[str, Meta(max_length=512)]


class NamespaceTool(msgspec.Struct, gc=False):
    """A function of a namespace."""

    type: str
    name: str = ""
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ResponseTool(msgspec.Struct, gc=False):
    """A function of the client, or a namespace with its functions in `tools`."""

    type: str
    name: str = ""
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    tools: Annotated[list[NamespaceTool], Meta(max_length=tool_bodies.TOOLS_LIMIT)] | None = None


class ResponseToolChoice(msgspec.Struct):
    """The function that has to be called."""

    type: str
    name: _Name = ""
    namespace: _Name | None = None


Tools = Annotated[list[ResponseTool], Meta(max_length=tool_bodies.TOOLS_LIMIT)]


def functions(sent: Sequence[ResponseTool]) -> tuple[job.Tool, ...]:
    """The tools as the model is offered them.

    Raises:
        BadRequest: one is of a kind that is not supported, or has a name or a schema that cannot
            be used, or there are too many.
    """
    found: list[tuple[str, tool_bodies.Function]] = []
    for place, tool in enumerate(sent):
        where = f"tools[{place}]"
        if tool.type == "namespace":
            for inner, function in enumerate(tool.tools or ()):
                found.append(_function(function, f"{where}.tools[{inner}]", tool.name))
        elif not _left_out(tool):
            found.append(_function(tool, where))
    if len(found) > tool_bodies.TOOLS_LIMIT:
        raise errors.invalid("tools", f"at most {tool_bodies.TOOLS_LIMIT} functions can be offered")
    return tool_bodies.functions(found)


def _function(
    tool: ResponseTool | NamespaceTool, where: str, namespace: str = ""
) -> tuple[str, tool_bodies.Function]:
    if tool.type != "function":
        kind = f"tools of type {tool.type[:64]!r} are not supported"
        raise errors.unsupported(f"{where}.type", kind)
    name = joined(namespace, tool.name)
    return where, tool_bodies.Function(name, tool.description, tool.parameters, tool.strict)


def choice(sent: str | ResponseToolChoice | None, given: Sequence[job.Tool]) -> tuple[str, str]:
    """Auto, none or required, and the only tool that may be called, "" for any.

    Raises:
        BadRequest: it asks for a call without tools, or for a tool that is not among them.
    """
    if not isinstance(sent, ResponseToolChoice):
        if sent == "required" and not given:
            raise errors.invalid("tool_choice", "it asks for a call, and there are no tools")
        return sent or "auto", ""
    if sent.type != "function":
        raise errors.unsupported("tool_choice.type", "only a function can be chosen")
    return tool_bodies.named(joined(sent.namespace, sent.name), given, "tool_choice.name")


def joined(namespace: str | None, name: str) -> str:
    """The one name by which a model calls a function of a namespace."""
    return f"{namespace}{_JOINED}{name}" if namespace else name


def namespaces(sent: Sequence[ResponseTool]) -> dict[str, tuple[str, str]]:
    """The namespace and the name of each function that has one, by its joined name."""
    return {
        joined(tool.name, function.name): (tool.name, function.name)
        for tool in sent
        if tool.type == "namespace"
        for function in tool.tools or ()
    }


def offered(sent: Sequence[ResponseTool]) -> Iterator[dict[str, Any]]:
    """The tools as an answer repeats them, without those that are left out."""
    for tool in sent:
        if tool.type == "namespace":
            inner = [_shown(function) for function in tool.tools or ()]
            yield {
                "type": "namespace",
                "name": tool.name,
                "description": tool.description,
                "tools": inner,
            }
        elif not _left_out(tool):
            yield _shown(tool)


def _shown(tool: ResponseTool | NamespaceTool) -> dict[str, Any]:
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": tool.strict,
    }


def _left_out(tool: ResponseTool) -> bool:
    return tool.type.startswith(_LEFT_OUT)
