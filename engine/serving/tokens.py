"""What a vocabulary tells without computing: the tokens of a prompt, and what tokens spell.

Imported by the workers.
"""

from __future__ import annotations

from engine.serving import wire
from engine.serving.llama.vocabulary import Vocabulary


def tell(
    vocabulary: Vocabulary,
    request: wire.Tokenise | wire.Detokenise | wire.Embed,
    most: int,
    *,
    whole: bool = False,
) -> wire.Tokenised | wire.Refused:
    """The tokens with their bytes, or why not; a worker that generates text makes no embeddings.

    `whole`: where BOS is asked for, a plain text has all that the model puts around one.
    A text with far more than `most` tokens is refused before it is tokenised, since nothing else
    happens meanwhile.
    """
    if isinstance(request, wire.Embed):
        message = "the worker generates text and makes no embeddings"
        return wire.Refused(request.id, "task", message, 0)
    if isinstance(request, wire.Detokenise):
        tokens = list(request.tokens)
        unknown = next((token for token in tokens if not 0 <= token < vocabulary.size), None)
        if unknown is not None:
            message = f"the vocabulary has {vocabulary.size} tokens, and {unknown} is none of them"
            return wire.Refused(request.id, "bad_token", message, 0)
    else:
        least = vocabulary.least(segment.text for segment in request.prompt)
        if least > most:
            message = f"the text has at least {least} tokens, and the context holds {most}"
            return wire.Refused(request.id, "too_long", message, 0)
        if whole and request.bos and not any(s.special for s in request.prompt):
            tokens = vocabulary.tokenise_whole("".join(s.text for s in request.prompt))
        else:
            tokens = vocabulary.tokenise((s.text, s.special) for s in request.prompt)
            if not request.bos and vocabulary.adds_bos:
                del tokens[0]
    return wire.Tokenised(request.id, tuple(tokens), tuple(map(vocabulary.raw, tokens)))
