"""Bodies of /v1/embeddings and /v1/rerank.

With the fields of the clients of OpenAI, llama-server, Jina, Cohere and text-embeddings-inference.
Imported by `engine.gateway.embeddings`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, cast

import msgspec
from msgspec import Meta

from engine.execution import job
from engine.gateway import containers, errors, prompt_fields, request_bodies, turns

INPUTS_LIMIT: Final = 2048
"""As OpenAI has it."""

_PLAIN: Final = {int, str}
_Name = Annotated[str, Meta(max_length=512)]
_Tokens = Annotated[
    list[prompt_fields.Token | str], Meta(min_length=1, max_length=prompt_fields.TOKENS_LIMIT)
]


class InputContent(msgspec.Struct, forbid_unknown_fields=True):
    """An input as llama-server's clients may write it: one text, or the parts of a message."""

    prompt_string: str | None = None
    content: Annotated[list[turns.Part], Meta(min_length=1)] | None = None

    def text(self, where: str) -> str:
        """The text.

        Raises:
            BadRequest: it has none, or two, or something other than text.
        """
        if self.content is not None and self.prompt_string is not None:
            raise errors.invalid(where, "send prompt_string or content, not both")
        if self.content is None:
            if self.prompt_string is None:
                raise errors.invalid(where, "an object needs prompt_string or content")
            return self.prompt_string
        for number, part in enumerate(self.content):
            if part.type != "text" or part.text is None:
                place = f"{where}.content[{number}]"
                raise errors.unsupported(place, "only parts of type text are supported")
        return "".join(part.text or "" for part in self.content)


_Inputs = (
    str
    | InputContent
    | Annotated[
        list[str | prompt_fields.Token | _Tokens | InputContent],
        Meta(min_length=1, max_length=prompt_fields.TOKENS_LIMIT),
    ]
)


class _Untexted(msgspec.Struct, kw_only=True):
    """What the bodies have in common: they ask for no text.

    Clients of text-embeddings-inference send no `model`: then there is only one service.
    """

    model: _Name | None = None
    user: _Name | None = None

    @property
    def unit(self) -> str | None:
        """The user who stays on one arm of a split."""
        return self.user

    @property
    def stream(self) -> bool:
        """There is nothing to stream."""
        return False

    @property
    def prompt_variables(self) -> dict[str, Any] | None:
        """A prompt is for text."""
        return None

    def options(self) -> job.Options:
        """Nothing is sampled."""
        return job.Options()


class Embeddings(_Untexted, kw_only=True):
    """The body of POST /v1/embeddings.

    A list that has a number is one input of token ids, and perhaps texts, as llama-server has it.
    `embd_normalize` is llama-server's.
    """

    given: _Inputs = msgspec.field(name="input")
    dimensions: Annotated[int, Meta(ge=1, le=2**20)] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    embd_normalize: Annotated[int, Meta(ge=-1, le=64)] | None = None

    def input(self) -> job.Embed:
        """The inputs.

        Raises:
            BadRequest: there are too many, or one holds something other than text.
        """
        given = self.given
        if not isinstance(given, list):
            inputs = [_parts(given, "input")]
        elif int in (kinds := set(map(type, given))):
            plain = cast("tuple[str | int, ...]", tuple(given))
            inputs = [plain if kinds <= _PLAIN else _mixed(given)]
        elif len(given) > INPUTS_LIMIT:
            what = f"{len(given)} inputs were sent, the limit is {INPUTS_LIMIT}; send several"
            raise errors.invalid("input", f"{what} requests")
        else:
            inputs = [_parts(each, f"input[{at}]") for at, each in enumerate(given)]
        return job.Embed(
            inputs=tuple(inputs),
            dimensions=self.dimensions or 0,
            norm=2 if self.embd_normalize is None else self.embd_normalize,
        )


def _mixed(
    given: Sequence[str | int | list[int | str] | InputContent],
) -> tuple[str | int, ...]:
    """One input of token ids, and texts in whatever form."""
    return tuple(_part(each, f"input[{at}]") for at, each in enumerate(given))


def _parts(given: str | int | list[int | str] | InputContent, where: str) -> tuple[str | int, ...]:
    """One input of an `input` that holds several."""
    if isinstance(given, list):
        return tuple(given)
    return (_part(given, where),)


def _part(given: str | int | list[int | str] | InputContent, where: str) -> str | int:
    """A text, or a token id."""
    if isinstance(given, InputContent):
        return given.text(where)
    if isinstance(given, list):
        raise errors.invalid(where, "a list of token ids cannot hold another list")
    return given


class RankedDocument(msgspec.Struct, forbid_unknown_fields=True):
    """A document as Jina's and Cohere's clients may write it."""

    text: str


_Documents = Annotated[list[str | RankedDocument], Meta(min_length=1, max_length=INPUTS_LIMIT)]


class Rerank(_Untexted, kw_only=True):
    """The body of POST /v1/rerank; `texts` and `return_text` are text-embeddings-inference's."""

    query: Annotated[str, Meta(min_length=1)]
    documents: _Documents | None = None
    texts: Annotated[list[str], Meta(min_length=1, max_length=INPUTS_LIMIT)] | None = None
    top_n: Annotated[int, Meta(ge=1)] | None = None
    return_documents: bool | None = None
    return_text: bool | None = None

    def input(self) -> job.Rerank:
        """The query and the documents."""
        field = "documents" if self.texts is None else "texts"
        return job.Rerank(query=self.query, documents=self.given, field=field)

    @property
    def given(self) -> tuple[str, ...]:
        """The texts of the documents.

        Raises:
            BadRequest: there are none, or two lists of them.
        """
        if (self.documents is None) is (self.texts is None):
            raise errors.invalid("documents", "send the documents, as a list of texts")
        if self.documents is None:
            return tuple(self.texts or ())
        return tuple(each if isinstance(each, str) else each.text for each in self.documents)


EMBEDDINGS: Final = request_bodies.Reader(
    Embeddings,
    unchanging={"normalize": (True,), "truncate": ("NONE", False)},
    bounded={"input": containers.LIMIT},
)
RERANK: Final = request_bodies.Reader(
    Rerank,
    unchanging={"raw_scores": (True,), "truncate": (False,), "return_embeddings": (False,)},
    bounded={"documents": containers.LIMIT},
)
