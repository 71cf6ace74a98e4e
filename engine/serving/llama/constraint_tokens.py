"""The vocabulary of a model as llguidance needs it to compute masks.

Control tokens match no text of a grammar; it can name them, and the model's ends match where the
grammar ends. Tokens that were added to a vocabulary as text, such as the tags of calls, are text.
Imported by the worker, which makes it before it is ready: a second for 150,000 tokens.
"""

from __future__ import annotations

import ctypes
from typing import Any, Final

import llama_cpp
import llguidance

from engine.serving.llama.vocabulary import Vocabulary

_SPECIAL: Final = b"\xff"
"""Marks a token as no text, for llguidance."""


def tokenizer(vocabulary: Vocabulary) -> llguidance.LLTokenizer:
    """The tokens; `vocabulary` has to outlive them.

    Raises:
        ValueError: llguidance does not take them.
    """
    ends = sorted(vocabulary.ends, key=lambda token: (token != vocabulary.eos, token))
    tokens = [
        vocabulary.piece(token) or _SPECIAL + vocabulary.raw(token)
        for token in range(vocabulary.size)
    ]
    tokenise = ctypes.cast(llama_cpp.llama_cpp._lib.llama_tokenize, ctypes.c_void_p)  # noqa: SLF001
    made: Any = llguidance.LLTokenizer
    found: llguidance.LLTokenizer = made.from_llamacpp(
        tokens=tokens,
        vocab_ptr=vocabulary.handle,
        tokenize_fptr=tokenise.value,
        eos_token=ends,
        slices=None,
    )
    return found
