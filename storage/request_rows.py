"""Requests as they are stored: narrow rows, and the facets that many of them share.

Ten million rows have to fit beside a model, so a row has only what differs from one request to the
next; service, release, instance, key and the way it ended are one number, a facet. An id that the
gateway made is kept as its bytes. `RequestRow` is a view of both. Imported by the nouns of
requests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final

from sqlalchemy.types import UserDefinedType
from sqlmodel import Column, Field, SQLModel

PREFIX: Final = "req_"
_DIGITS: Final = "0123456789abcdef"

Facet = tuple[Any, ...]
"""The values of a `FacetRow` in the order of its columns; 0 and "" for what there is not."""


class RequestKey(UserDefinedType[str]):
    """An id of a request: `req_` and pairs of hex digits are kept as bytes, others as they are."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """The type of a column that holds both."""
        return "ANY"

    def bind_processor(self, dialect: object) -> Callable[[str | None], str | bytes | None]:  # noqa: ARG002 theirs
        """As it is stored."""
        return lambda named: None if named is None else stored(named)

    def result_processor(
        self,
        dialect: object,  # noqa: ARG002 theirs
        coltype: object,  # noqa: ARG002 theirs
    ) -> Callable[[str | bytes | None], str | None]:
        """As it is read."""
        return lambda key: PREFIX + key.hex() if isinstance(key, bytes) else key


class Beginning(UserDefinedType[bytes]):
    """The bytes that ids begin with, compared with a `RequestKey`."""

    cache_ok = True


class RequestRow(SQLModel, table=True):
    """A request as it is read; `number` is the order of recording. Never written.

    `text_id` is the id as text, for tables that have it so.
    """

    __tablename__: ClassVar[str] = "requests"

    number: int | None = Field(default=None, primary_key=True)
    id: str = Field(sa_column=Column("key", RequestKey, nullable=False))
    text_id: str = Field(sa_column_kwargs={"name": "id"})
    at_us: int
    facet: int
    service: str
    release: int | None
    worker: str
    endpoint: str
    key_id: int
    tenant: str
    class_: str = Field(sa_column_kwargs={"name": "class"})
    synthetic: bool
    stream: bool
    prompt_tokens: int
    completion_tokens: int
    queue_us: int
    ttft_us: int | None
    latency_us: int
    busy_us: int
    outcome: str
    finish_reason: str | None
    error_code: str | None
    seed: int | None
    ab_test: int | None = None
    unit: str | None = None
    cached_tokens: int = 0


class StoredRow(SQLModel, table=True):
    """A request as it is stored; `storage.request_writes` writes it."""

    __tablename__: ClassVar[str] = "request_rows"

    number: int | None = Field(default=None, primary_key=True)
    id: str = Field(sa_column=Column("id", RequestKey, nullable=False))
    at_us: int
    facet: int
    prompt_tokens: int
    completion_tokens: int
    queue_us: int
    ttft_us: int | None
    latency_us: int
    busy_us: int
    seed: int | None
    ab_test: int | None
    unit: str | None
    cached_tokens: int


class FacetRow(SQLModel, table=True):
    """What many requests share; 0 and "" stand for what there is not."""

    __tablename__: ClassVar[str] = "request_facets"

    id: int | None = Field(default=None, primary_key=True)
    service: str
    release: int
    worker: str
    endpoint: str
    key_id: int
    tenant: str
    class_: str = Field(sa_column_kwargs={"name": "class"})
    synthetic: bool
    stream: bool
    outcome: str
    finish_reason: str
    error_code: str


def stored(id: str) -> str | bytes:
    """An id as it is stored."""
    digits = id.removeprefix(PREFIX)
    if digits == id or not digits or len(digits) % 2 or digits.strip(_DIGITS):
        return id
    return bytes.fromhex(digits)


def beginning(id: str) -> tuple[bytes, bytes | None] | None:
    """The bounds of the keys of ids that begin so, the second excluded; None where none can be.

    The second is None where no key is too great.
    """
    digits = id.removeprefix(PREFIX)
    if digits.strip(_DIGITS):
        return None
    after = int(digits or "0", 16) + 1
    whole = len(digits) + len(digits) % 2
    first = bytes.fromhex(digits.ljust(whole, "0"))
    if not digits or after == 16 ** len(digits):
        return first, None
    return first, bytes.fromhex(f"{after:0{len(digits)}x}".ljust(whole, "0"))
