"""Bodies of embeddings and rerankings: what is read, and what is refused instead of dropped."""

from __future__ import annotations

import msgspec
import pytest

from engine.gateway import embedding_bodies, errors


@pytest.mark.parametrize("listed", [False, True])
def test_a_picture_beside_a_text_is_not_dropped(listed: bool) -> None:
    """The vector would be that of the text alone."""
    given = {"prompt_string": "a <__media__>", "multimodal_data": ["b"]}
    body = msgspec.json.encode({"model": "m", "input": [given] if listed else given})
    with pytest.raises(errors.BadRequest, match="unknown field multimodal_data") as caught:
        embedding_bodies.EMBEDDINGS.read(body)
    assert (caught.value.param or "").startswith("input")


def test_two_texts_of_an_input_are_refused() -> None:
    """One of them would be dropped."""
    given = {"prompt_string": "a", "content": [{"type": "text", "text": "b"}]}
    body = msgspec.json.encode({"model": "m", "input": ["a", given]})
    with pytest.raises(errors.BadRequest, match="not both") as caught:
        embedding_bodies.EMBEDDINGS.read(body).input()
    assert caught.value.param == "input[1]"


def test_the_picture_of_a_document_is_not_dropped() -> None:
    """Its score would be that of the text alone."""
    body = b'{"model": "m", "query": "q", "documents": [{"text": "", "image": "b"}]}'
    with pytest.raises(errors.BadRequest, match="unknown field image"):
        embedding_bodies.RERANK.read(body)
