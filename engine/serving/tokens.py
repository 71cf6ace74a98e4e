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
    More than `most` tokens are refused, and a text with far more before it is tokenised, since
    nothing else happens meanwhile.
    """
    if isinstance(request, wire.Embed):
        message = "the worker generates text and makes no embeddings"
        return wire.Refused(request.id, "task", message, 0)
    if isinstance(request, wire.Detokenise):
        tokens = list(request.tokens)
        if len(tokens) > most:
            message = (
                f"there are {len(tokens)} tokens, and the context holds {most}; send them in parts"
            )
            return wire.Refused(request.id, "too_long", message, 0)
        size = vocabulary.size
        place = next((at for at, token in enumerate(tokens) if not 0 <= token < size), -1)
        if place >= 0:
            message = f"the vocabulary has {size} tokens, and {tokens[place]} is none of them"
            return wire.Refused(request.id, "bad_token", message, 0, place=place)
    else:
        least = vocabulary.least(((s.text, s.special) for s in request.prompt), most)
        if least > most:
            message = (
                f"the text has at least {least} tokens, and the context holds {most}; "
                "send it in parts"
            )
            return wire.Refused(request.id, "too_long", message, 0)
        if whole and request.bos and not any(s.special for s in request.prompt):
            tokens = vocabulary.tokenise_whole("".join(s.text for s in request.prompt))
        else:
            tokenise = vocabulary.tokenise if request.bos else vocabulary.tokenise_bare
            tokens = tokenise((s.text, s.special) for s in request.prompt)
    return wire.Tokenised(request.id, tuple(tokens), tuple(map(vocabulary.raw, tokens)))
