"""Whether a response schema is one: the keywords of JSON Schema have values of their kinds.

The keywords that describe structure are checked, by the 2020-12 meta-schema of json-schema.org;
others may hold anything, as the specification wants it. Pure. Imported by `storage.prompt_content`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union

import msgspec
from msgspec import Meta

from storage import errors

_Type = Literal["null", "boolean", "object", "array", "number", "string", "integer"]
_Count = Annotated[int, Meta(ge=0)]
_Schemas = Annotated[list[Union["Schema", bool]], Meta(min_length=1)]
_Named = dict[str, Union["Schema", bool]]
_Any = Union["Schema", bool]


class Schema(msgspec.Struct, frozen=True, rename="camel"):
    """One schema or subschema."""

    ref: str | msgspec.UnsetType = msgspec.field(name="$ref", default=msgspec.UNSET)
    defs: _Named | msgspec.UnsetType = msgspec.field(name="$defs", default=msgspec.UNSET)
    type: _Type | Annotated[list[_Type], Meta(min_length=1)] | msgspec.UnsetType = msgspec.UNSET
    enum: Annotated[list[Any], Meta(min_length=1)] | msgspec.UnsetType = msgspec.UNSET
    properties: _Named | msgspec.UnsetType = msgspec.UNSET
    pattern_properties: _Named | msgspec.UnsetType = msgspec.UNSET
    additional_properties: _Any | msgspec.UnsetType = msgspec.UNSET
    required: list[str] | msgspec.UnsetType = msgspec.UNSET
    items: _Any | msgspec.UnsetType = msgspec.UNSET
    prefix_items: _Schemas | msgspec.UnsetType = msgspec.UNSET
    all_of: _Schemas | msgspec.UnsetType = msgspec.UNSET
    any_of: _Schemas | msgspec.UnsetType = msgspec.UNSET
    one_of: _Schemas | msgspec.UnsetType = msgspec.UNSET
    not_: _Any | msgspec.UnsetType = msgspec.field(name="not", default=msgspec.UNSET)
    pattern: str | msgspec.UnsetType = msgspec.UNSET
    min_length: _Count | msgspec.UnsetType = msgspec.UNSET
    max_length: _Count | msgspec.UnsetType = msgspec.UNSET
    min_items: _Count | msgspec.UnsetType = msgspec.UNSET
    max_items: _Count | msgspec.UnsetType = msgspec.UNSET
    minimum: float | msgspec.UnsetType = msgspec.UNSET
    maximum: float | msgspec.UnsetType = msgspec.UNSET


def check(schema: Mapping[str, Any]) -> None:
    """Prove that this is a JSON Schema.

    Raises:
        Invalid: it is not; the message says where and why.
    """
    try:
        msgspec.convert(dict(schema), Schema)
    except msgspec.ValidationError as error:
        what, _, where = str(error).rpartition(" - at `")
        at = f" at {where.removesuffix('`')}" if what else ""
        raise errors.Invalid(
            f"The response schema is not a JSON Schema{at}: {what or error}."
        ) from error
    except RecursionError as error:
        raise errors.Invalid("The response schema is nested too deeply.") from error
