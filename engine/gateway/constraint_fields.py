"""The fields of a request body that say what the answer must match, under the names of all servers.

OpenAI's `response_format`, vLLM's `structured_outputs` and its older `guided_*`, llama-server's
`grammar` and `json_schema` become one constraint; two of them in one request are refused. Schemas
are passed on as they were written and never decoded here. Imported by the bodies of each API.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from engine.execution.job import Constraint
from engine.gateway import errors, sampling_fields

BYTES_LIMIT: Final = 128 * 1024
"""Of a schema, a grammar, an expression or a list of choices."""
CHOICES_LIMIT: Final = 4096
SPACING_LIMIT: Final = 256

_Json = msgspec.Raw | msgspec.UnsetType
_Choices = Annotated[list[str], Meta(min_length=1, max_length=CHOICES_LIMIT)]
_ANY_OBJECT: Final = '{"type":"object"}'


class NamedSchema(msgspec.Struct, forbid_unknown_fields=True):
    """OpenAI's wrapping of a schema; every schema is held strictly, whatever `strict` says."""

    name: str = ""
    description: str | None = None
    schema: _Json = msgspec.UNSET
    strict: bool | None = None


class ResponseFormat(msgspec.Struct, forbid_unknown_fields=True):
    """OpenAI's; `schema` is llama-server's place for one."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None
    schema: _Json = msgspec.UNSET


class StructuredOutputs(msgspec.Struct, forbid_unknown_fields=True):
    """vLLM's; `whitespace_pattern` is an expression for white space between the tokens of JSON."""

    json: _Json = msgspec.UNSET
    regex: str | None = None
    choice: _Choices | None = None
    grammar: str | None = None
    json_object: bool | None = None
    whitespace_pattern: str | None = None


class Constrained(sampling_fields.Sampled, kw_only=True):
    """What the answer must match, by at most one of these, besides how its tokens are sampled."""

    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    guided_json: _Json = msgspec.UNSET
    guided_regex: str | None = None
    guided_choice: _Choices | None = None
    guided_grammar: str | None = None
    guided_whitespace_pattern: str | None = None
    json_schema: _Json = msgspec.UNSET
    grammar: str | None = None

    def constraint(self) -> Constraint | None:
        """What the answer must match, None for anything.

        Raises:
            BadRequest: there are two, or one is too large or no schema.
        """
        found = [*self._constraints()]
        if len(found) > 1:
            raise errors.BadRequest(
                f"{found[0].field} and {found[1].field} both say what the answer must match; "
                "send one of them.",
                code="invalid_value",
                param=found[1].field,
            )
        for each in found:
            if len(each.source.encode("utf-8", "replace")) > BYTES_LIMIT:
                raise _refused(each.field, f"is longer than {BYTES_LIMIT // 1024} KiB")
        return self._spaced(found[0] if found else None)

    def _spaced(self, found: Constraint | None) -> Constraint | None:
        """A constraint with the white space that the request allows."""
        pattern, field = self.guided_whitespace_pattern, "guided_whitespace_pattern"
        if self.structured_outputs is not None and self.structured_outputs.whitespace_pattern:
            pattern = self.structured_outputs.whitespace_pattern
            field = "structured_outputs.whitespace_pattern"
        if not pattern:
            return found
        if found is None or found.kind != "json_schema":
            raise _refused(field, "needs a JSON schema that it belongs to")
        if len(pattern) > SPACING_LIMIT:
            raise _refused(field, f"is longer than {SPACING_LIMIT} characters")
        return msgspec.structs.replace(found, spacing=pattern)

    def _constraints(self) -> Iterator[Constraint]:
        yield from self._response_format()
        if (outputs := self.structured_outputs) is not None:
            at = "structured_outputs"
            yield from _schema(outputs.json, f"{at}.json")
            yield from _text("regex", outputs.regex, f"{at}.regex")
            yield from _choice(outputs.choice, f"{at}.choice")
            yield from _text("grammar", outputs.grammar, f"{at}.grammar")
            if outputs.json_object:
                yield Constraint("json_schema", _ANY_OBJECT, f"{at}.json_object")
        yield from _schema(self.guided_json, "guided_json")
        yield from _text("regex", self.guided_regex, "guided_regex")
        yield from _choice(self.guided_choice, "guided_choice")
        yield from _text("grammar", self.guided_grammar, "guided_grammar")
        yield from _schema(self.json_schema, "json_schema")
        yield from _text("grammar", self.grammar, "grammar")

    def _response_format(self) -> Iterator[Constraint]:
        asked, at = self.response_format, "response_format"
        if asked is None or asked.type == "text":
            return
        if asked.type == "json_schema" and asked.json_schema is not None:
            schemas = [*_schema(asked.json_schema.schema, f"{at}.json_schema.schema")]
        else:
            schemas = [*_schema(asked.schema, f"{at}.schema")]
        if not schemas and asked.type == "json_schema":
            raise _missing(f"{at}.json_schema.schema")
        yield from schemas or [Constraint("json_schema", _ANY_OBJECT, at)]


def formatted(type: str, schema: _Json, field: str) -> Constraint | None:
    """What a format of OpenAI's Responses or of Anthropic's API asks for; None for plain text.

    Raises:
        BadRequest: there is no schema, or one that is too large or no object.
    """
    if type == "text":
        return None
    if type == "json_object":
        return Constraint("json_schema", _ANY_OBJECT, field)
    for found in _schema(schema, f"{field}.schema"):
        return found
    raise _missing(f"{field}.schema")


def _missing(field: str) -> errors.BadRequest:
    return errors.BadRequest(
        f"{field} is missing: it says what the answer must match.",
        code="missing_required_parameter",
        param=field,
    )


def _schema(raw: _Json, field: str) -> Iterator[Constraint]:
    """A schema, which vLLM's clients may send as a text that holds one."""
    if isinstance(raw, msgspec.UnsetType):
        return
    if len(raw) > 2 * BYTES_LIMIT:
        raise _refused(field, f"is longer than {BYTES_LIMIT // 1024} KiB")
    source = bytes(raw).strip()
    if source == b"null":
        return
    if source.startswith(b'"'):
        source = msgspec.json.decode(source, type=str).strip().encode("utf-8", "replace")
    if not source.startswith(b"{"):
        raise _refused(field, "is no JSON schema: that is an object")
    if len(source) > BYTES_LIMIT:
        raise _refused(field, f"is longer than {BYTES_LIMIT // 1024} KiB")
    yield Constraint("json_schema", source.decode(), field)


def _text(kind: str, source: str | None, field: str) -> Iterator[Constraint]:
    if source:
        yield Constraint(kind, source, field)


def _choice(choices: list[str] | None, field: str) -> Iterator[Constraint]:
    if choices is not None:
        yield Constraint("choice", msgspec.json.encode(choices).decode(), field)


def _refused(field: str, what: str) -> errors.BadRequest:
    return errors.BadRequest(f"{field} {what}.", code="invalid_value", param=field)
