"""What the answer must match, in the fields that a server reads.

OpenAI's `response_format` is read by all of them in a chat. Everything else has another name
everywhere, and a name that a server does not know it ignores in silence: so it is sent only to a
server that is known, and refused for the others. Pure. Imported by `request`.
"""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

from engine.backends.upstream import maker
from engine.execution import failures
from engine.execution.job import Constraint

_SPECIAL: Final = frozenset("\\.+*?()|[]{}^$#&-~")
_ANY_OBJECT: Final = {"type": "object"}


def fields(constraint: Constraint, *, made_by: str, chat: bool) -> dict[str, Any]:
    """The fields of the request.

    Raises:
        failures.Invalid: the server has no field for it.
    """
    if constraint.spacing:
        found = _spaced(constraint, made_by)
    elif constraint.kind == "json_schema":
        found = _json(constraint.source, made_by, chat=chat)
    else:
        found = _other(constraint, made_by)
    if found is None:
        what = made_by or "a server that does not say what it is"
        raise failures.Invalid(
            f"the release is answered by {what}, which cannot be sent {constraint.field}",
            code="unsupported_parameter",
            param=constraint.field,
        )
    return found


def needs_maker(constraint: Constraint, *, chat: bool) -> bool:
    """Whether the fields depend on the server."""
    return constraint.kind != "json_schema" or not chat or bool(constraint.spacing)


def _json(source: str, made_by: str, *, chat: bool) -> dict[str, Any] | None:
    schema = msgspec.Raw(source.encode())
    if not chat and made_by == maker.LLAMA:
        return {"json_schema": schema}
    if not chat and made_by == maker.UNKNOWN:
        return None
    if _is_any(source):
        return {"response_format": {"type": "json_object"}}
    named = {"name": "answer", "schema": schema, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


def _spaced(constraint: Constraint, made_by: str) -> dict[str, Any] | None:
    """A schema with its white space, which only vLLM's field can say."""
    if made_by not in {maker.VLLM, maker.PADDOCK}:
        return None
    schema = msgspec.Raw(constraint.source.encode())
    return {"structured_outputs": {"json": schema, "whitespace_pattern": constraint.spacing}}


def _other(constraint: Constraint, made_by: str) -> dict[str, Any] | None:
    kind, source = constraint.kind, constraint.source
    choices: list[str] = json.loads(source) if kind == "choice" else []
    match made_by:
        case maker.VLLM | maker.PADDOCK:
            return {"structured_outputs": {kind: choices or source}}
        case maker.SGLANG:
            expression = "|".join(map(_literal, choices)) if choices else source
            return {"ebnf" if kind == "grammar" else "regex": expression}
        case maker.LLAMA if kind == "choice":
            return {"grammar": f"root ::= {' | '.join(map(_quoted, choices))}"}
        case maker.LLAMA if kind == "grammar":
            return {"grammar": source}
    return None


def _is_any(source: str) -> bool:
    return len(source) < 40 and json.loads(source) == _ANY_OBJECT  # noqa: PLR2004


def _literal(text: str) -> str:
    return "".join(f"\\{each}" if each in _SPECIAL else each for each in text)


def _quoted(text: str) -> str:
    """A literal of GBNF, which has JSON's escapes but two."""
    return json.dumps(text, ensure_ascii=False).replace("\\b", "\\x08").replace("\\f", "\\x0c")
