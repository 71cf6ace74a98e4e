"""A constraint as a grammar of llguidance, compiled within bounds.

The bounds are counted in work, not in time, so that they are the same on a busy machine: the mask
of a token takes at most about 10 ms. JSON has at most a space after a comma or a colon, unless the
request or the schema says otherwise: a weak model fills its answer with what it may add.
Never runs on the loop's thread. Imported by its neighbours.
"""

from __future__ import annotations

import json
from typing import Any, Final

import llguidance
from llguidance import gbnf_to_lark

from engine.serving import wire

_SPACING: Final[Any] = {
    "whitespace_flexible": False, "key_separator": r":\x20?", "item_separator": r",\x20?",
}  # fmt: skip
_FLEXIBLE: Final[Any] = {
    "whitespace_flexible": True, "key_separator": ":", "item_separator": ",",
}  # fmt: skip
_WORDS: Final = 300
"""Characters of a reason that are worth sending."""
_SPECIAL: Final = frozenset("\\.+*?()|[]{}^$#&-~")
_STEP_ITEMS: Final = 12_000
_STEP_FUEL: Final = 60_000


def _limits(share: float) -> llguidance.LLParserLimits:
    return llguidance.LLParserLimits(
        max_items_in_row=2_000,
        initial_lexer_fuel=1_000_000,
        step_lexer_fuel=int(_STEP_FUEL * share),
        step_max_items=int(_STEP_ITEMS * share),
        max_lexer_states=20_000,
        max_grammar_size=100_000,
        verbose_errors=False,
    )


_LIMITS: Final = _limits(1)
_TRIAL_LIMITS: Final = _limits(0.8)
"""Of a trial, which does not have the tokens of the model."""


class Unholdable(Exception):
    """The constraint cannot be held; the message says why."""


def compiled(
    tokenizer: llguidance.LLTokenizer, constraint: wire.Constraint, *, trial: bool = False
) -> llguidance.LLMatcher:
    """A matcher at the beginning of the text; copies of it are cheap. A `trial` has less room.

    Raises:
        Unholdable: the constraint is invalid, uses what llguidance does not know, or is too large.
    """
    try:
        grammar = _grammar(constraint)
    except (ValueError, RecursionError, gbnf_to_lark.GbnfToLarkError) as error:
        raise Unholdable(_brief(str(error))) from error
    limits = _TRIAL_LIMITS if trial else _LIMITS
    matcher = llguidance.LLMatcher(tokenizer, grammar, log_level=0, limits=limits)
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
            asked: Any = {**_FLEXIBLE, "whitespace_pattern": constraint.spacing}
            return llguidance.LLMatcher.grammar_from_json_schema(
                source, defaults=_SPACING, overrides=asked if constraint.spacing else None
            )
        case "regex":
            return llguidance.LLMatcher.grammar_from_regex(source)
        case "choice":
            choices = "|".join(map(_literal, json.loads(source)))
            return llguidance.LLMatcher.grammar_from_regex(f"({choices})")
        case "grammar":
            return llguidance.LLMatcher.grammar_from_lark(gbnf_to_lark.any_to_lark(source))
        case "either":
            either = json.loads(source)
            parts = {"calls": ("grammar", either["calls"], ""), "answer": either["answer"]}
            inner = [
                _named(name, wire.Constraint(kind, text, spacing=spacing))
                for name, (kind, text, spacing) in parts.items()
            ]
            start = {"name": "start", "lark_grammar": "start: @calls | @answer"}
            return json.dumps({"grammars": [start, *inner]})
        case _:
            raise ValueError(f"there is no constraint of the kind {constraint.kind!r}")


def _named(name: str, constraint: wire.Constraint) -> dict[str, Any]:
    """A constraint as one of several grammars that refer to each other."""
    found = _grammar(constraint)
    if not found.lstrip().startswith("{"):
        return {"name": name, "lark_grammar": found}
    return {**json.loads(found)["grammars"][0], "name": name}


def _literal(text: str) -> str:
    return "".join(f"\\{each}" if each in _SPECIAL else each for each in text)


def _brief(said: str) -> str:
    line = " ".join(said.split())
    return line if len(line) <= _WORDS else line[: _WORDS - 1] + "…"
