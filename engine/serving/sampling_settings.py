"""How tokens are drawn, and what the text that they make has to match.

The same for callers, jobs and workers. Imported by `wire`, under whose name it is used.
"""

from __future__ import annotations

import msgspec


class Sampling(msgspec.Struct, frozen=True, array_like=True):
    """How tokens are sampled; `temperature` 0 is greedy; top_k 0, top_p 1 and min_p 0 are off.

    `repeat_last_n` is the window of the penalties as llama.cpp has it, None for OpenAI's and
    vLLM's counting. `logit_bias` is added to the logits of tokens. Nothing ends
    before `min_tokens`; with `ignore_eos` the model's own end tokens never come.
    """

    temperature: float
    top_k: int
    top_p: float
    min_p: float
    seed: int
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repeat_last_n: int | None = None
    min_tokens: int = 0
    logit_bias: tuple[tuple[int, float], ...] = ()
    ignore_eos: bool = False


class Thinking(msgspec.Struct, frozen=True, array_like=True):
    """A bound on reasoning: `budget` tokens between two marks, then `forced` is written.

    `inside`: the prompt has opened it.
    """

    budget: int
    opening: str
    closing: str
    forced: str
    inside: bool


class Constraint(msgspec.Struct, frozen=True, array_like=True):
    """What the text has to match: a whole text of the language that `source` describes.

    `kind` is json_schema (JSON), regex (Rust's syntax), choice (a JSON list of texts), grammar
    (GBNF or Lark) or either (JSON: a grammar of `calls`, and another constraint's kind, source and
    spacing as `answer`). `field` is that of the request, for errors; workers get it empty.
    `spacing` is an expression for the white space between the tokens of JSON, "" for the default.
    """

    kind: str
    source: str
    field: str = ""
    spacing: str = ""


class Begins(msgspec.Struct, frozen=True, array_like=True):
    """Where a constraint begins within a text that is free otherwise.

    `patterns` are expressions in Python's syntax, over the text so far. What has to match is then
    the group `name`, a line break, and everything after the match. With `armed`, one of these texts
    has to come before. `begun` ends the prompt and belongs to the text.
    """

    patterns: tuple[str, ...]
    armed: tuple[str, ...] = ()
    begun: str = ""
