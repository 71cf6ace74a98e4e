"""The vocabulary of a model as llguidance needs it to compute masks.

Control tokens match no text of a grammar, only the model's ends do where the grammar ends. Imported
by the worker, which makes it at the first constraint: a second for 150,000 tokens.
"""

from __future__ import annotations

import llguidance
from llguidance import llamacpp

from engine.serving.llama.vocabulary import Vocabulary


def tokenizer(vocabulary: Vocabulary) -> llguidance.LLTokenizer:
    """The tokens; `vocabulary` has to outlive them.

    Raises:
        ValueError: a token is too long.
    """
    ends = sorted(vocabulary.ends, key=lambda token: (token != vocabulary.eos, token))
    return llamacpp.lltokenizer_from_vocab(vocabulary.handle, eos_token=ends)
