"""One choice's text from a worker, as content, reasoning and calls in the terms of a job.

The parsing is `engine.chat_syntax`'s. Imported by `engine.backends.local_run`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from engine.chat_syntax import forced, lazy, parser
from engine.chat_syntax.lark.pieces import Controls
from engine.chat_syntax.parser import Parser
from engine.chat_syntax.syntax import Family, Gained, Schemas
from engine.execution import failures
from engine.execution.job import CallDelta, Chat, Delta, Job
from engine.serving import wire

_TAIL: Final = 200
"""Characters of a prompt's end that show whether it opens the reasoning."""
_FINAL: Final = "<|channel|>final<|message|>"
"""Where every part of an answer has a header: that of the content."""


class ParsedText:
    """Parses one choice from its beginning. `called`: it has made a call."""

    def __init__(self, job: Job, index: int, reader: Parser) -> None:
        self._job = job
        self._index = index
        self._parser = reader

    @property
    def called(self) -> bool:
        """Whether it calls a tool."""
        return self._parser.calls > 0

    @property
    def over(self) -> bool:
        """Whether all calls are made that may be: what follows is of no use."""
        return self._parser.over

    def delta(self, delta: wire.Delta, at_us: int) -> Delta:
        """New text in its parts; some of it may wait for what follows."""
        gained = self._parser.feed(delta.text) if delta.text else Gained("", "", ())
        return self._made(gained, delta.tokens, delta.logprobs, at_us)

    def rest(self, reason: str, at_us: int) -> Delta | None:
        """What waited, once the sequence has ended; None if nothing did."""
        gained = self._parser.finish(cut=reason != "stop")
        return self._made(gained, 0, (), at_us) if any(gained) else None

    def _made(
        self, gained: Gained, tokens: int, logprobs: tuple[wire.TokenLogprob, ...], at_us: int
    ) -> Delta:
        calls = tuple(
            CallDelta(part.call, self._id(part.call) if part.name else "", part.name,
                      part.arguments)
            for part in gained.calls
        )  # fmt: skip
        return Delta(self._index, gained.content, tokens, logprobs, at_us, gained.reasoning, calls)

    def _id(self, call: int) -> str:
        """The same whenever the choice begins again."""
        named = f"{self._job.id}/{self._index}/{call}".encode()
        return f"call_{hashlib.sha256(named).hexdigest()[:24]}"


def _unparsed(_: int) -> ParsedText | None:
    """The text is all content."""
    return None


@dataclass(frozen=True, slots=True)
class Parsing:
    """How the answers of a job are made and read.

    `made` gives the parser of a choice by its index, None where the text is all content. `shown`
    are control tokens that it has to see. `thinking` bounds the reasoning, None where the caller
    does not or there is none. `prefix` ends the prompt. `constraint` is what the answer has to
    match `after` the mark that closes the reasoning, "" from its beginning; None for nothing. Where
    the prompt has not opened the reasoning, the answer may begin with `opening`. With `begins` it
    holds for the arguments of calls alone. `trial` is what has to be tried of it, None for nothing.
    """

    made: Callable[[int], ParsedText | None] = _unparsed
    shown: tuple[str, ...] = ()
    thinking: wire.Thinking | None = None
    prefix: str = ""
    constraint: wire.Constraint | None = None
    after: str = ""
    opening: str = ""
    begins: wire.Begins | None = None
    trial: wire.Constraint | None = None


def parsing(
    job: Job,
    family: Family,
    prompt: Sequence[wire.Segment],
    controls: Controls | None = None,
) -> Parsing:
    """How the answers of a job are made and read, after a prompt.

    A call that has to be made is begun by the prompt, without reasoning, and held to the schemas of
    the tools. A call that the model makes by itself is held where its arguments begin. Beside tools
    a constraint describes the answer that is no call. `controls` are the model's control tokens
    with their ids.

    Raises:
        failures.Invalid: a strict tool cannot be held to its schema in the syntax of the family.
    """
    chat, controls = job.input, controls or {}
    if not isinstance(chat, Chat):
        return Parsing(constraint=job.constraint)
    offered = () if chat.tool_choice == "none" else chat.tools
    schemas = {tool.name: tool.parameters for tool in offered if chat.only_tool in {"", tool.name}}
    plain = family.reasoning is None and not family.channels and not family.noise
    if plain and not schemas:
        return Parsing(constraint=job.constraint)
    tail = "".join(segment.text for segment in prompt[-3:])[-_TAIL:]
    opened = parser.opens(family, tail)
    one = chat.parallel_calls is False or bool(chat.only_tool)
    if schemas and chat.tool_choice == "required":
        call = forced.of(family, schemas, thinking=opened, several=not one, controls=controls)
        return Parsing(
            lambda index: ParsedText(
                job, index, Parser(call.family, schemas, begun=call.begun, one=one)
            ),
            call.family.marks(calling=True),
            prefix=call.prefix,
            constraint=wire.Constraint("grammar", call.grammar, "tools"),
            trial=wire.Constraint("grammar", call.trial, "tools"),
        )
    constraint, marks = job.constraint, family.reasoning
    begins, trial = None, None
    if schemas and constraint is not None:
        call = forced.either(family, schemas, several=not one, controls=controls)
        family = call.family
        trial, constraint = (_either(each, constraint) for each in (call.trial, call.grammar))
    elif schemas:
        strict = frozenset(tool.name for tool in offered if tool.strict)
        found = _lazy(family, schemas, strict, controls)
        if found is not None:
            constraint = wire.Constraint("grammar", found.grammar, "tools")
            begins = wire.Begins(found.patterns, found.armed, found.begun)
            if strict:  # what holds others is always the same
                trial = wire.Constraint("grammar", found.trial, "tools")
    opening = "" if opened or family.channels else _opening(job, family, tail)
    begun = _FINAL if family.channels and job.constraint is not None else ""

    def made(index: int) -> ParsedText:
        return ParsedText(job, index, Parser(family, schemas, prompt=tail, begun=begun, one=one))

    return Parsing(
        made,
        family.marks(calling=bool(schemas)),
        None if begun else _thinking(job, family, tail),
        prefix=begun,
        constraint=constraint,
        after=marks.closing if marks is not None and (opened or opening) else "",
        opening=opening,
        begins=begins,
        trial=trial,
    )


def _lazy(
    family: Family, schemas: Schemas, strict: Collection[str], controls: Controls
) -> lazy.Lazy | None:
    """How the calls are held that a model makes by itself."""
    try:
        return lazy.of(family, schemas, strict, controls)
    except lazy.Unwritable as error:
        raise failures.Invalid(
            f"the arguments of tool {error.tool} cannot be held to its schema in this model's"
            f" syntax: {error.reason}; leave strict out, or set tool_choice to required",
            code="unsupported_parameter",
            param="tools",
        ) from error


def _either(calls: str, answer: wire.Constraint) -> wire.Constraint:
    """An answer that a constraint describes, or calls that a grammar does."""
    source = {"calls": calls, "answer": (answer.kind, answer.source, answer.spacing)}
    return wire.Constraint("either", msgspec.json.encode(source).decode(), answer.field)


def _opening(job: Job, family: Family, tail: str) -> str:
    """The mark with which an answer may open its reasoning, empty where it may not."""
    marks = family.reasoning
    if marks is None or job.thinking_budget == 0:
        return ""
    return "" if tail.rstrip().endswith(marks.closing.strip()) else marks.opening


def _thinking(job: Job, family: Family, tail: str) -> wire.Thinking | None:
    marks, budget = family.reasoning, job.thinking_budget
    if marks is None or budget is None:
        return None
    return wire.Thinking(
        budget, marks.opening, marks.closing, marks.end, inside=parser.opens(family, tail)
    )
