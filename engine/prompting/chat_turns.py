"""A conversation as chat templates take it: dictionaries in the form of Hugging Face's convention.

Templates differ in what they take: arguments of calls as objects or as text, null or an empty text
beside calls, ids of nine characters, several names for reasoning. `Form` says what one takes; it is
found by trial. Never renders. Imported by `engine.prompting.chat_template`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from engine.execution.job import Call, Chat, Message, Tool

Turn = dict[str, Any]

_REASONING: Final = ("reasoning_content", "reasoning", "thinking")
_ID: Final = 9
_NINE: Final = "length 9"
_EFFORTS: Final[Mapping[str, str]] = {
    "minimal": "low", "xhigh": "high", "max": "high",
}  # fmt: skip
_OFF: Final = {"enable_thinking": False, "thinking": False}
_ON: Final = {"enable_thinking": True, "thinking": True}


@dataclass(frozen=True, slots=True)
class Form:
    """What one template takes.

    `tools` and `calls`: it shows them, and turns of tools where it has `results`. `objects`: it
    takes arguments as objects, else as text. `null`: it takes null as the content beside calls.
    `reasoning` are its names for that; `short_ids`: it takes ids of nine characters only.
    """

    tools: bool = False
    calls: bool = False
    objects: bool = True
    null: bool = False
    reasoning: tuple[str, ...] = ()
    short_ids: bool = False
    results: bool = False


PROBE: Final = Chat(
    (
        Message("user", "Hello."),
        Message("assistant", "", calls=(Call("call_0", "probe_tool", '{"probe_key": "probed"}'),)),
        Message("tool", "Done.", call_id="call_0", name="probe_tool"),
    ),
    tools=(Tool("probe_tool", "A tool.", {"type": "object", "properties": {}}),),
)
"""What a template is tried with."""
RESULT: Final = (
    Message("user", "Hello."),
    Message("assistant", "A call."),
    Message("tool", "Done with it.", call_id="call_0", name="probe_tool"),
)
"""And where it shows no calls."""


def base(template: str) -> Form:
    """What a template's text shows without a trial: the first of its names for reasoning."""
    names = (
        name
        for name in _REASONING
        if f".{name}" in template or f"'{name}'" in template or f'"{name}"' in template
    )
    return Form(reasoning=tuple(names)[:1], short_ids=_NINE in template)


def candidates(template: str) -> Iterator[Form]:
    """The forms in which a template may show calls, the usual ones first."""
    known = base(template)
    for objects, null in ((True, False), (True, True), (False, False), (False, True)):
        yield replace(known, calls=True, objects=objects, null=null)


def shows_calls(rendered: str) -> bool:
    """Whether a rendering of the probe has its call, and only once each part."""
    return "probe_tool" in rendered and "probe_key" in rendered and "probed" in rendered


def turns(messages: Sequence[Message], form: Form) -> list[Turn]:
    """The messages as a template takes them."""
    made: list[Turn] = []
    names: dict[str, str] = {}
    for message in messages:
        turn: Turn = {"role": message.role, "content": message.content}
        if message.reasoning:
            _reason(turn, message, form)
        if message.calls:
            names |= {call.id: call.name for call in message.calls}
            turn["content"] = message.content or (None if form.null else "")
            turn["tool_calls"] = [_call(call, form) for call in message.calls]
        if message.role == "tool":
            turn["tool_call_id"] = _id(message.call_id, form)
            turn["name"] = message.name or names.get(message.call_id, "")
        made.append(turn)
    return made


def tool(each: Tool) -> dict[str, Any]:
    """A tool as a template takes it: with every field that some of them rely on."""
    function = {
        "name": each.name,
        "description": each.description or "",
        "parameters": each.parameters or {"type": "object", "properties": {}},
    }
    return {"type": "function", "function": function}


def arguments(chat: Chat) -> dict[str, Any]:
    """The arguments of the template: what the caller's effort means, then the caller's own."""
    effort = chat.effort
    if effort is None:
        return dict(chat.template_arguments)
    if effort == "none":
        return {**_OFF, **chat.template_arguments}
    said = {"reasoning_effort": _EFFORTS.get(effort, effort)}
    return {**_ON, **said, **chat.template_arguments}


def _reason(turn: Turn, message: Message, form: Form) -> None:
    """The reasoning; gpt-oss's template refuses it beside both content and calls."""
    if message.calls and message.content and form.reasoning == ("thinking",):
        return
    for name in form.reasoning:
        turn[name] = message.reasoning


def _call(call: Call, form: Form) -> dict[str, Any]:
    given: object = call.arguments
    if form.objects:
        given = msgspec.json.decode(call.arguments)
    return {
        "id": _id(call.id, form),
        "type": "function",
        "function": {"name": call.name, "arguments": given},
    }


def _id(id: str, form: Form) -> str:
    if not form.short_ids or (len(id) == _ID and id.isalnum()):
        return id
    return hashlib.sha256(id.encode("utf-8", "surrogatepass")).hexdigest()[:_ID]
