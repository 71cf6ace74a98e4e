"""Text to tokens: a prompt in segments is the same text in one piece, control texts apart."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.serving import tokens, wire
from engine.serving.constraints import grammars
from engine.serving.constraints.begun import PartMatcher
from engine.serving.llama import constraint_tokens
from engine.serving.llama.model import Model
from engine.serving.llama.vocabulary import Vocabulary
from tests import home_fixtures
from tests.engine.serving import tiny_gguf

TEXTS = st.lists(
    st.sampled_from(["<s>", "</s>", "old", "new", " ", "  ", "\n", "a", "ä", "<", "</", "s>", "x"]),
    max_size=12,
)
CUTS = st.lists(st.integers(0, 40), max_size=4)


@pytest.fixture(scope="module")
def spm(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    """A SentencePiece vocabulary, which begins every text with a space."""
    path = tmp_path_factory.mktemp("models") / "spm.gguf"
    tiny_gguf.spm(path)
    return Model(path, gpu_layers=0).vocabulary


@pytest.fixture(scope="module")
def bpe() -> Vocabulary:
    """The shipped model's, byte-level BPE."""
    return Model(home_fixtures.WEIGHTS, gpu_layers=0).vocabulary


def spelled(vocabulary: Vocabulary, tokens: list[int]) -> str:
    """The text of the tokens, control tokens spelled out."""
    return b"".join(map(vocabulary.raw, tokens)).decode()


def test_control_texts_of_a_user_gain_no_spaces(spm: Vocabulary) -> None:
    """The segments that guarding them makes are one text again."""
    guarded = [("<s>", False), ("old", True), ("</s>", False), ("new", True)]
    tokens = spm.tokenise([("<s>[a] ", True), *guarded, (" [/a]", True)])
    assert spelled(spm, tokens) == "<s> [a] <s>old</s>new [/a]"
    assert [token for token in tokens if token in spm.controls.values()] == [spm.bos]


def test_without_bos_a_text_keeps_the_one_that_it_spells(spm: Vocabulary) -> None:
    """As a rendered conversation does: it is not the one that would be added."""

    def told(text: str, *, bos: bool) -> list[int]:
        asked = wire.Tokenise(1, "", (wire.Segment(text, special=True),), bos, 1)
        found = tokens.tell(spm, asked, 64)
        assert isinstance(found, wire.Tokenised)
        return list(found.tokens)

    assert told("<s>old", bos=False) == told("<s>old", bos=True) == told("old", bos=True)
    assert told("old", bos=False) == told("old", bos=True)[1:]


@pytest.mark.parametrize("kind", ["spm", "bpe"])
def test_a_grammar_names_a_control_token_by_its_id(
    kind: str, request: pytest.FixtureRequest
) -> None:
    """And begins within a text, to which no vocabulary adds a space there."""
    vocabulary: Vocabulary = request.getfixturevalue(kind)
    control = min(set(vocabulary.controls.values()) - vocabulary.ends)
    tokenizer = constraint_tokens.tokenizer(vocabulary)
    lark = f'start: "new" LINE "{{" <[{control}]> "}}"\nLINE: "\\n"\n'
    compiled = grammars.compiled(tokenizer, wire.Constraint("grammar", lark))
    before, brace, wrong = map(vocabulary.tokenise_continuation, ("old new{", "}", "x"))
    for last in (control, *wrong):
        part = PartMatcher(compiled, tokenizer, wire.Begins((r"old (?P<name>\w+)(?!\w)",)))
        for token in before:
            part.push(token, vocabulary.raw(token))
        assert part.active
        part.push(last, vocabulary.raw(last))
        assert bool(part.fault) == (last != control)
        if not part.fault:
            part.push(brace[-1], b"}")
            assert not part.active


def test_no_more_tokens_are_spelled_than_a_context_holds(bpe: Vocabulary) -> None:
    """A million control tokens took a worker seconds, in which it computed nothing."""
    (control, *_) = bpe.controls.values()
    refused = tokens.tell(bpe, wire.Detokenise(1, "", (control,) * 65, 1), 64)
    assert isinstance(refused, wire.Refused)
    assert refused.code == "too_long"
    assert bpe.raw(control) is bpe.raw(control)


def test_text_runs_on_across_segments(spm: Vocabulary) -> None:
    """A word may be a token that two segments share."""
    assert spm.tokenise([("<s> ol", True), ("d", False)]) == spm.tokenise([("<s> old", True)])


def test_a_text_that_is_far_too_long_is_not_counted_to_its_end(bpe: Vocabulary) -> None:
    """The longest token is a hundred spaces in some vocabularies, and no text is made of those."""
    words = "order 17 is late and the customer asks why. " * 10_000
    bpe.piece_most, longest = 1000, bpe.piece_most
    try:
        whole = len(bpe.tokenise([(words, False)]))
        for special in (False, True):
            least = bpe.least([(words, special)], 5_000)
            assert 5_000 < least < whole // 4
            assert bpe.least([(words, special)], whole) <= whole
            assert bpe.least([("<|im_end|>" * 5_000, True)], 5_000) <= 5_000
    finally:
        bpe.piece_most = longest


@given(TEXTS, CUTS)
def test_a_prompt_in_pieces_gives_the_tokens_of_the_whole(
    spm: Vocabulary, words: list[str], cuts: list[int]
) -> None:
    """As libllama itself reads it in one piece; no piece cuts a control text."""
    _in_pieces(spm, words, cuts)


@given(TEXTS.map(lambda words: [{"<s>": "<|im_end|>"}.get(word, word) for word in words]), CUTS)
def test_a_bpe_prompt_in_pieces_gives_the_tokens_of_the_whole(
    bpe: Vocabulary, words: list[str], cuts: list[int]
) -> None:
    """The same holds where no space is added."""
    _in_pieces(bpe, words, cuts)


def _in_pieces(vocabulary: Vocabulary, words: list[str], cuts: list[int]) -> None:
    whole = vocabulary._encode("".join(words), special=True)
    if vocabulary.adds_bos and whole[:1] != [vocabulary.bos]:
        whole.insert(0, vocabulary.bos)
    joined = "".join(words)
    spans = [m.span() for m in vocabulary._spelled.finditer(joined)] if vocabulary._spelled else []
    at = sorted({cut for cut in cuts if not any(a < cut < b for a, b in spans)})
    pieces = [joined[a:b] for a, b in zip([0, *at], [*at, len(joined)], strict=True)]
    assert vocabulary.tokenise((piece, True) for piece in pieces) == whole


@given(st.text(alphabet="aoldnew \nä", max_size=20))
def test_a_continuation_is_its_own_bytes(spm: Vocabulary, text: str) -> None:
    """No space is put before it: it continues what was there."""
    tokens = spm.tokenise_continuation(text)
    assert b"".join(map(spm.piece, tokens)).decode() == text


def test_every_token_that_ends_a_generation_for_libllama_ends_it_here(tmp_path: Path) -> None:
    """Its type in the file does not matter: chat templates end with tokens marked NORMAL."""
    path = tmp_path / "normal.gguf"
    tokens = [("<|endoftext|>", tiny_gguf.CONTROL), ("<|im_end|>", tiny_gguf.NORMAL)]
    tokens += [(letter, tiny_gguf.NORMAL) for letter in "abc"]
    tiny_gguf.chain(path, tokens, follows={}, eos=0)
    assert Model(path, gpu_layers=0).vocabulary.ends == {0, 1}


def test_marks_of_infilling_are_found_by_their_names(spm: Vocabulary, tmp_path: Path) -> None:
    """All three of them or none; their texts are parsed where they are the gateway's own."""
    assert spm.infill == ()
    names = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
    path = tmp_path / "infill.gguf"
    tokens = [("<|endoftext|>", tiny_gguf.CONTROL), *((name, tiny_gguf.CONTROL) for name in names)]
    tokens += [(letter, tiny_gguf.NORMAL) for letter in "abc"]
    tiny_gguf.chain(path, tokens, follows={}, eos=0)
    vocabulary = Model(path, gpu_layers=0).vocabulary
    assert vocabulary.infill == names
    before, after, middle = names
    segments = [(before, True), ("ab", False), (after, True), ("c", False), (middle, True)]
    assert vocabulary.tokenise(segments) == [1, 4, 5, 2, 6, 3]
