"""The shipped GGUFs are what their card says, and their tokenizer is ours."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import gguf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import shipped
from tools.model_factory import card, chats, tokenizer

FOLDER = Path(shipped.__file__).parent
BASE, ADAPTER = FOLDER / card.BASE, FOLDER / card.ADAPTER


@functools.cache
def words() -> tokenizer.Tokenizer:
    """The tokenizer of the words; seconds, so not while tests are collected."""
    return tokenizer.Tokenizer(tokenizer.learn_merges(chats.every_word()))


@pytest.mark.parametrize("path", [BASE, ADAPTER], ids=lambda path: path.name)
def test_the_card_says_what_the_headers_say(path: Path) -> None:
    """Version, size, hash, parameters, shape and training are the same in the card and the file."""
    text = (FOLDER / card.CARD).read_text(encoding="utf-8")
    for said in card.facts(path).values():
        assert said in text
    assert card.training(path) in text


def test_the_text_of_the_card_is_the_one_that_would_be_written() -> None:
    """Outside its figures, the file equals the template in the model factory."""
    text = (FOLDER / card.CARD).read_text(encoding="utf-8")
    pattern = re.sub(r"\\\{\w+\\\}", ".+", re.escape(card.TEXT))
    assert re.fullmatch(pattern, text, re.DOTALL) is not None


def test_the_files_are_small_enough_for_a_repository() -> None:
    """Eight megabytes are the most that may be committed for both."""
    assert BASE.stat().st_size + ADAPTER.stat().st_size < 8_000_000


def test_the_base_can_be_served() -> None:
    """What llama.cpp and the engine need is there: architecture, template, end of turn."""
    header = card.fields(BASE)
    assert header["general.architecture"] == "llama"
    assert header["general.version"] == "1.0.0"
    assert header["tokenizer.ggml.model"] == "gpt2"
    assert header["tokenizer.ggml.add_bos_token"] is False
    assert header["tokenizer.ggml.eos_token_id"] == words().number[tokenizer.END]
    assert "<|im_start|>" in str(header["tokenizer.chat_template"])
    assert int(str(header["llama.embedding_length"])) % 64 == 0
    assert int(str(header["llama.context_length"])) >= 1024


def test_the_adapter_fits_the_base() -> None:
    """Every pair of the adapter fits a matrix of the base: A (r, in), B (out, r)."""
    header = card.fields(ADAPTER)
    assert header["general.type"] == "adapter"
    assert header["adapter.type"] == "lora"
    assert header["general.architecture"] == "llama"
    matrices = {tensor.name: tensor.shape for tensor in gguf.GGUFReader(BASE).tensors}
    pairs: dict[str, dict[str, list[int]]] = {}
    for tensor in gguf.GGUFReader(ADAPTER).tensors:
        name, _, side = tensor.name.rpartition(".lora_")
        pairs.setdefault(name, {})[side] = [int(each) for each in tensor.shape]
    blocks = int(str(card.fields(BASE)["llama.block_count"]))
    assert len(pairs) == 7 * blocks
    for name, pair in pairs.items():
        width_in, width_out = (int(each) for each in matrices[name])
        rank = pair["a"][1]
        assert pair == {"a": [width_in, rank], "b": [rank, width_out]}


def test_the_tokenizer_in_the_file_is_the_one_that_the_words_give() -> None:
    """Changed words require a new training."""
    fields = gguf.GGUFReader(BASE).fields
    assert tuple(fields[gguf.Keys.Tokenizer.LIST].contents()) == words().tokens
    merges = tuple(f"{left} {right}" for left, right in words().merges)
    assert tuple(fields[gguf.Keys.Tokenizer.MERGES].contents()) == merges


def test_every_word_of_the_world_is_one_token() -> None:
    """So that an answer is copied token by token."""
    assert {word for word in chats.every_word() if len(words().encode(word)) != 1} == set()


@given(st.text())
def test_any_text_can_be_written_and_read_back(text: str) -> None:
    """Users type anything."""
    assert words().decode(words().encode(text)) == text


def test_special_tokens_are_read_where_they_are_written_out() -> None:
    """The chat template is text; its marks are tokens."""
    text = "<|im_start|>user\nHello<|im_end|>\n"
    numbers = words().encode(text)
    assert numbers[0] == words().number[tokenizer.START]
    assert words().decode(numbers) == text
