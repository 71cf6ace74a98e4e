"""Embeddings and rerankings as one worker's model computes them, beside the same in NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import gguf
import llama_cpp
import numpy as np
import pytest

from engine.serving import embedding, errors, wire
from engine.serving.embedding import Embedder, Unembeddable
from engine.serving.llama.model import Model
from engine.serving.llama.pooled_context import PooledContext
from tests.engine.serving import shaped_gguf, tiny_gguf

LONGEST = 64
SHAPE = shaped_gguf.Shape(320, 64, 2, 2, 2, 96)
TEXTS = ("a b c", "a", "the quick fox", "z y x w v u", "hello hello")
Floats = Any
Embed = Callable[..., Floats]


class Made:
    """A tiny encoder with its tensors, and what a worker makes of it."""

    def __init__(self, path: Path, pooling: gguf.PoolingType, **fields: object) -> None:
        self.tensors = tiny_gguf.bert(path, pooling=pooling, **fields)  # type: ignore[arg-type]
        self.model = Model(path, gpu_layers=0, embeds=True)
        context = PooledContext(self.model, room=128, sequences=8, threads=1)
        self.embedder = Embedder(self.model, context, LONGEST)

    def embed(self, *texts: str, query: str | None = None, **fields: int) -> Floats:
        """The result for these inputs, computed in one step."""
        asked = wire.Embed(
            1, "", tuple((text,) for text in texts), 0, "t", 1_000_000, query=query, **fields
        )
        work = self.embedder.work(asked, 0)
        for index, vector in enumerate(self.embedder.context.compute(work.asked.inputs)):
            work.take(index, vector)
        result = work.result()
        return np.frombuffer(result.values, "<f4").reshape(len(texts), result.width)

    def tokens(self, text: str) -> list[int]:
        """What it reads of a text."""
        return self.model.vocabulary.tokenise_whole(text)


@pytest.fixture(scope="module")
def mean(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Pooled by the mean."""
    return Made(tmp_path_factory.mktemp("mean") / "m.gguf", gguf.PoolingType.MEAN)


@pytest.fixture(scope="module")
def rank(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """With a classifier."""
    return Made(tmp_path_factory.mktemp("rank") / "m.gguf", gguf.PoolingType.RANK)


def of_tokens(made: dict[str, Floats], tokens: list[int]) -> Floats:
    """What the encoder makes of each token (tokens, width), as its paper has it."""

    def normal(x: Floats, name: str) -> Floats:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return scaled * made[f"{name}.weight"] + made[f"{name}.bias"]

    def linear(x: Floats, name: str) -> Floats:
        return x @ made[f"blk.0.{name}.weight"].T + made[f"blk.0.{name}.bias"]

    x = made["token_embd.weight"][tokens] + made["token_types.weight"][0]
    x = normal(x + made["position_embd.weight"][: len(tokens)], "token_embd_norm")
    heads = [np.split(linear(x, name), 2, axis=1) for name in ("attn_q", "attn_k", "attn_v")]
    seen = []
    for q, k, v in zip(*heads, strict=True):
        scores = np.exp(q @ k.T / math.sqrt(q.shape[1]))
        seen.append(scores / scores.sum(1, keepdims=True) @ v)
    x = normal(x + linear(np.concatenate(seen, 1), "attn_output"), "blk.0.attn_output_norm")
    up = linear(x, "ffn_up")
    active = up * 0.5 * (1 + np.vectorize(math.erf)(up / math.sqrt(2)))
    return normal(x + linear(active, "ffn_down"), "blk.0.layer_output_norm")


def unit(vector: Floats) -> Floats:
    """Of length 1."""
    return vector / np.linalg.norm(vector)


def test_a_vector_is_the_mean_of_the_tokens_at_length_one(mean: Made) -> None:
    """The same in NumPy, to what llama.cpp rounds."""
    for text, vector in zip(TEXTS, mean.embed(*TEXTS), strict=True):
        expected = unit(of_tokens(mean.tensors, mean.tokens(text)).mean(0))
        np.testing.assert_allclose(vector, expected, atol=2e-3)


def test_many_at_once_are_as_one_by_one(mean: Made, rank: Made) -> None:
    """What else is in the step changes nothing beyond rounding."""
    together = mean.embed(*TEXTS)
    alone = np.concatenate([mean.embed(text) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    ranked = rank.embed(*TEXTS, query="a fox")
    singly = np.concatenate([rank.embed(text, query="a fox") for text in TEXTS])
    np.testing.assert_allclose(ranked, singly, atol=1e-4)


def test_pooling_cls_takes_the_first_token(tmp_path: Path) -> None:
    """As the file says."""
    made = Made(tmp_path / "m.gguf", gguf.PoolingType.CLS)
    expected = unit(of_tokens(made.tensors, made.tokens("a b c"))[0])
    np.testing.assert_allclose(made.embed("a b c")[0], expected, atol=2e-3)


def test_a_score_is_what_the_classifier_makes_of_the_pair(rank: Made) -> None:
    """[CLS] query [SEP] document, as llama-server joins them."""
    vocabulary = rank.model.vocabulary
    pair = embedding.pair(vocabulary, "", "a fox", "the dog")
    assert pair == [
        vocabulary.bos, *vocabulary.tokenise_bare([("a fox", False)]),
        vocabulary.sep, *vocabulary.tokenise_bare([("the dog", False)]),
    ]  # fmt: skip
    made = rank.tensors
    first = np.tanh(of_tokens(made, pair)[0] @ made["cls.weight"].T + made["cls.bias"])
    expected = first @ made["cls.output.weight"].T + made["cls.output.bias"]
    np.testing.assert_allclose(rank.embed("the dog", query="a fox")[0], expected, rtol=2e-2)


def test_a_models_own_form_of_a_pair_reads_no_control_tokens_of_clients(mean: Made) -> None:
    """Its marks are parsed, those that a query or a document spells are text."""
    vocabulary = mean.model.vocabulary
    given = embedding.pair(vocabulary, "[CLS]{query}[SEP]{document}", "a [SEP]", "{query}")
    assert given.count(vocabulary.sep) == 1
    assert given[0] == vocabulary.bos


@pytest.mark.parametrize(
    ("norm", "size"),
    [
        (2, lambda v: np.sqrt((v**2).sum())),
        (1, lambda v: np.abs(v).sum()),
        (3, lambda v: (np.abs(v) ** 3).sum() ** (1 / 3)),
        (64, lambda v: (np.abs(v.astype(float)) ** 64).sum() ** (1 / 64)),
        (0, lambda v: np.abs(v).max() / 32760),
    ],
)
def test_vectors_are_scaled_as_llama_server_scales_them(
    mean: Made, norm: int, size: Callable[[Floats], float]
) -> None:
    """By the norm that is asked for; -1 leaves them as they are."""
    plain = mean.embed("a b c", norm=-1)[0]
    np.testing.assert_allclose(mean.embed("a b c", norm=norm)[0], plain / size(plain), rtol=1e-4)


def test_fewer_dimensions_are_the_first_ones_at_length_one(mean: Made) -> None:
    """Matryoshka: cut, then scaled; more than there are is refused."""
    expected = unit(mean.embed("a b c")[0][:8])
    np.testing.assert_allclose(mean.embed("a b c", dimensions=8)[0], expected, atol=1e-6)
    with pytest.raises(Unembeddable, match="32 dimensions"):
        mean.embed("a b c", dimensions=33)


def test_a_zero_vector_stays_zero() -> None:
    """It has no direction."""
    assert not embedding.normalised(np.zeros((1, 4), np.float32), 2).any()


def test_a_high_norm_of_small_values_is_not_zero() -> None:
    """Their 64th powers are below what float32 holds."""
    scaled = embedding.normalised(np.full((1, 4), 0.01, np.float32), 64)
    np.testing.assert_allclose(scaled, 4 ** (-1 / 64), rtol=1e-5)


def test_what_cannot_be_computed_names_its_input(mean: Made, rank: Made) -> None:
    """Too long a text, a token that does not exist, nothing at all, the other kind of work."""

    def refusal(made: Made, *inputs: tuple[str | int, ...], query: str | None = None) -> object:
        with pytest.raises(Unembeddable) as caught:
            made.embedder.work(wire.Embed(1, "", inputs, 0, "t", 1, query=query), 0)
        return caught.value.code, caught.value.place

    assert refusal(mean, ("a",), ("a " * LONGEST,)) == ("too_long", 1)
    assert refusal(mean, ("a " * 100_000,)) == ("too_long", 0)
    assert refusal(mean, (1, 2, 10_000)) == ("bad_token", 0)
    assert refusal(mean, ("a",), ()) == ("empty", 1)
    assert refusal(mean, ("a",), query="b") == ("task", -1)
    assert refusal(rank, ("a",)) == ("task", -1)


def test_token_ids_are_taken_as_they_are(mean: Made) -> None:
    """The ids of a text give its vector; texts among ids are read without what is around one."""
    ids = tuple(mean.tokens("a b"))
    asked = wire.Embed(1, "", (ids, (*ids[:-1], "c", ids[-1])), 0, "t", 1)
    inputs = mean.embedder.work(asked, 0).asked.inputs
    assert inputs == [mean.tokens("a b"), mean.tokens("a b c")]


def test_a_model_that_computes_no_numbers_fails_its_probe(tmp_path: Path) -> None:
    """Before any request reaches it."""
    made = Made(tmp_path / "m.gguf", gguf.PoolingType.MEAN, nan=range(100 - 43))
    with pytest.raises(errors.ModelBroken, match="NaN"):
        made.embedder.prove()


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A model that is made for text."""
    return Model(shaped_gguf.write(tmp_path_factory.mktemp("text") / "m.gguf", SHAPE), gpu_layers=0)


def test_a_text_model_embeds_by_its_last_token(decoder: Model) -> None:
    """What it attends to comes before, so that each text has its own vector."""
    context = PooledContext(decoder, room=64, sequences=4, threads=1, pooling="last")
    inputs = [decoder.vocabulary.tokenise_whole(text) for text in ("order 17", "order 18")]
    one, other = context.compute(inputs)
    np.testing.assert_allclose(context.compute(inputs[:1])[0], one, atol=1e-5)
    np.testing.assert_allclose(context.compute(inputs[::-1])[0], other, atol=1e-5)
    assert not np.allclose(one, other, atol=1e-3)


def test_a_text_model_embeds_as_in_the_binding(tmp_path: Path) -> None:
    """What `Llama(embedding=True)` computes of the same file."""
    file = shaped_gguf.write(tmp_path / "m.gguf", SHAPE)
    pooling = llama_cpp.LLAMA_POOLING_TYPE_LAST
    with closing(
        llama_cpp.Llama(
            str(file), embedding=True, pooling_type=pooling, n_ctx=64, n_threads=1, verbose=False
        )
    ) as peer:
        expected = peer.embed("order 17", normalize=True)
    model = Model(file, gpu_layers=0)
    context = PooledContext(model, room=64, sequences=4, threads=1, pooling="last")
    (vector,) = context.compute([model.vocabulary.tokenise_whole("order 17")])
    np.testing.assert_allclose(unit(vector), expected, atol=1e-3)  # it rounds keys otherwise


def test_a_text_model_without_a_pooling_is_refused(decoder: Model) -> None:
    """Its file says none, and the release has to."""
    with pytest.raises(errors.ModelBroken, match="--pooling"):
        PooledContext(decoder, room=64, sequences=4, threads=1)
