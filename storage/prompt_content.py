"""What a prompt version says: messages, variables, a response schema, and the hash of them.

Pure; nothing here renders a template. Imported by `storage.prompts`; other packages take the types
from there.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from storage import errors
from storage import response_schema as json_schema

TEXT_LIMIT: Final = 512 * 1024
"""Characters of all templates of a version."""
SCHEMA_LIMIT: Final = 64 * 1024
"""Bytes of a response schema as JSON."""

Role = Literal["system", "user", "assistant"]
Type = Literal["string", "integer", "number", "boolean"]

_BOOLEANS: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One message; `template` is Jinja."""

    role: Role
    template: str


class Variable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A variable of the templates; `default` is text, read as `type`."""

    name: str
    type: Type = "string"
    default: str | None = None
    required: bool = False


def sha256(
    messages: Sequence[Message],
    variables: Sequence[Variable],
    response_schema: Mapping[str, Any] | None = None,
) -> str:
    """The SHA-256 of the content of a version, without its name, number, tag and author."""
    parts: list[object] = [tuple(messages), tuple(variables)]
    if response_schema is not None:  # versions from before schemas keep their hash
        parts.append(stored_schema(response_schema))
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


def stored_schema(schema: Mapping[str, Any]) -> str:
    """A response schema as JSON with sorted keys: equal schemas are equal texts."""
    return msgspec.json.encode(dict(schema), order="sorted").decode()


def value(text: str, type: Type) -> str | int | float | bool:
    """A text as a value of a type, as defaults and command lines write it.

    Raises:
        ValueError: it is none; the message says what is.
    """
    match type:
        case "integer":
            with_sign = text.strip().removeprefix("-")
            if with_sign.isascii() and with_sign.isdecimal() and len(with_sign) <= 18:  # noqa: PLR2004 fits in 64 bits
                return int(text)
            raise ValueError(f"{text[:40]!r} is not an integer of at most 18 digits")
        case "number":
            try:
                number = float(text)
            except ValueError:
                number = math.nan
            if math.isfinite(number):
                return number
            raise ValueError(f"{text[:40]!r} is not a number")
        case "boolean":
            if (known := _BOOLEANS.get(text.strip().lower())) is not None:
                return known
            raise ValueError(f"{text[:40]!r} is not true or false")
    return text


def check(
    messages: Sequence[Message],
    variables: Sequence[Variable],
    response_schema: Mapping[str, Any] | None = None,
) -> None:
    """Invalid unless a version may hold this; the message says what is allowed."""
    if not messages:
        raise errors.Invalid("A prompt has at least one message.")
    called = [variable.name for variable in variables]
    for name in called:
        if not (name.isascii() and name.isidentifier()):
            raise errors.Invalid(f"{name!r} cannot be a variable: use letters, digits and _.")
    if len(set(called)) < len(called):
        raise errors.Invalid("Two variables of the prompt have the same name.")
    for variable in variables:
        if variable.default is not None:
            try:
                value(variable.default, variable.type)
            except ValueError as error:
                raise errors.Invalid(f"The default of variable {variable.name}: {error}.") from None
    if sum(len(message.template) for message in messages) > TEXT_LIMIT:
        raise errors.Invalid(f"The templates of a prompt hold {TEXT_LIMIT} characters at most.")
    if response_schema is not None:
        _check_schema(response_schema)


def _check_schema(schema: Mapping[str, Any]) -> None:
    json_schema.check(schema)
    if len(stored_schema(schema)) > SCHEMA_LIMIT:
        raise errors.Invalid(f"A response schema holds {SCHEMA_LIMIT} bytes of JSON at most.")


def unconstrained(response_schema: Mapping[str, Any] | None) -> str:
    """What a response schema does not do yet, as a sentence; empty where there is none."""
    if response_schema is None:
        return ""
    return "Its response schema is kept with it; answers are not constrained by it yet."


def newly_required(before: Sequence[Variable], after: Sequence[Variable]) -> list[str]:
    """The variables that requests have to send for `after` and not for `before`."""
    needed = {variable.name for variable in before if variable.required}
    return [each.name for each in after if each.required and each.name not in needed]


def caution(names: Sequence[str]) -> str:
    """What new required variables mean for clients, as a sentence; empty for none."""
    return f"Requests without {', '.join(names)} are refused from now on." if names else ""
