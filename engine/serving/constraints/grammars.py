"""A constraint as a grammar of llguidance, compiled within bounds.

The bounds are counted in work, not in time, so that they are the same on a busy machine. Whitespace
between the tokens of JSON is free but short, as in llama.cpp: a model that likes it could fill its
answer with it.
Never runs on the loop's thread. Imported by its neighbours.
"""

from __future__ import annotations

import json
from typing import Final

import llguidance
from llguidance import gbnf_to_lark

from engine.serving import wire

_SPACE: Final = r"\x20|\n{1,2}[\x20\t]{0,20}"
_WORDS: Final = 300
"""Characters of a reason that are worth sending."""
_SPECIAL: Final = frozenset("\\.+*?()|[]{}^$#&-~")
_LIMITS: Final = llguidance.LLParserLimits(
    max_items_in_row=2_000,
    initial_lexer_fuel=1_000_000,
    step_lexer_fuel=200_000,
    step_max_items=50_000,
    max_lexer_states=20_000,
    max_grammar_size=200_000,
    verbose_errors=False,
)


class Unholdable(Exception):
    """The constraint cannot be held; the message says why."""


def compiled(
    tokenizer: llguidance.LLTokenizer, constraint: wire.Constraint
) -> llguidance.LLMatcher:
    """A matcher at the beginning of the text; copies of it are cheap.

    Raises:
        Unholdable: the constraint is invalid, uses what llguidance does not know, or is too large.
    """
    try:
        grammar = _grammar(constraint)
    except (ValueError, RecursionError, gbnf_to_lark.GbnfToLarkError) as error:
        raise Unholdable(_brief(str(error))) from error
    matcher = llguidance.LLMatcher(tokenizer, grammar, log_level=0, limits=_LIMITS)
    if matcher.is_error():
        raise Unholdable(reason(matcher))
    return matcher


def reason(matcher: llguidance.LLMatcher) -> str:
    """Why a matcher is in error, in one line."""
    said = matcher.get_error().partition("<non-verbose/>")[0]
    if said.startswith("panic"):
        return "the grammar is too large"
    if said.startswith("NoExtension"):
        return "no text matches it"
    return _brief(said)


def _grammar(constraint: wire.Constraint) -> str:
    source = constraint.source
    match constraint.kind:
        case "json_schema":
            return llguidance.LLMatcher.grammar_from_json_schema(
                source, overrides={"whitespace_pattern": _SPACE}
            )
        case "regex":
            return llguidance.LLMatcher.grammar_from_regex(source)
        case "choice":
            choices = "|".join(map(_literal, json.loads(source)))
            return llguidance.LLMatcher.grammar_from_regex(f"({choices})")
        case "grammar":
            return llguidance.LLMatcher.grammar_from_lark(gbnf_to_lark.any_to_lark(source))
        case _:
            raise ValueError(f"there is no constraint of the kind {constraint.kind!r}")


def _literal(text: str) -> str:
    return "".join(f"\\{each}" if each in _SPECIAL else each for each in text)


def _brief(said: str) -> str:
    line = " ".join(said.split())
    return line if len(line) <= _WORDS else line[: _WORDS - 1] + "…"
