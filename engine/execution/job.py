"""A job: one request, planned; and the events that its execution yields.

The gateway makes jobs for its clients; shadow copies, evaluation, replay and judges make them for
the box. A job says what to generate and for which key, not how the request arrived.
Frozen data; imported by the gateway, the backends and the gateway's internal client.
"""

from __future__ import annotations

from typing import Any

import msgspec

from engine.serving.wire import Constraint, Logprob, Sampling, TokenLogprob
from storage.releases import Release
from storage.requests import Class

__all__ = [
    "Asked", "Call", "CallDelta", "Chat", "Constraint", "Delta", "Echoed", "Embed", "Event",
    "Finished", "Input", "Job", "Logprob", "Message", "Options", "Prefilled", "Prompt",
    "PromptToken", "Rerank", "Restarted", "Sampling", "Score", "Scored", "Text", "TokenLogprob",
    "Tokens", "Tool", "Vectors", "Vocabulary",
]  # fmt: skip

# Constraint, Logprob, Sampling and TokenLogprob are the same for the worker and for the caller.


class Call(msgspec.Struct, frozen=True, gc=False):
    """A call of a tool in an assistant's turn; `arguments` are JSON text, cut if the turn was."""

    id: str
    name: str
    arguments: str


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One turn of a conversation; `role` is system, user, assistant or tool.

    An assistant may have reasoned before its content, and call tools after it. A tool's turn
    answers the call with the id `call_id`; `name` is the tool's, "" where the caller does not say.
    """

    role: str
    content: str
    reasoning: str = ""
    calls: tuple[Call, ...] = ()
    call_id: str = ""
    name: str = ""


class Tool(msgspec.Struct, frozen=True, omit_defaults=True):
    """A function that the model may call; `parameters` is a JSON schema, None for any object."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool = False


class Chat(msgspec.Struct, frozen=True, tag="chat", omit_defaults=True):
    """A conversation, the release's prompt included; the backend renders the chat template.

    `template_arguments` reach the model's chat template (vLLM's `chat_template_kwargs`).
    `tool_choice` is auto, none or required; with `only_tool` the call has to be of that one.
    With `instructed` the first message is for this answer alone: what continues it leaves it out.
    With `continued` the last message is the beginning of the answer, to be continued. Without
    `generation_prompt` nothing follows the messages, the beginning of the assistant's turn either.
    `parallel_calls` is false where one turn may make one call at most, None where the caller does
    not say. `effort` is how much to reason, in the words of the model, None for its default.
    """

    messages: tuple[Message, ...]
    template_arguments: dict[str, object] = {}
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"
    only_tool: str = ""
    parallel_calls: bool | None = None
    effort: str | None = None
    instructed: bool = False
    continued: bool = False
    generation_prompt: bool = True


class Text(msgspec.Struct, frozen=True, tag="text", omit_defaults=True):
    """Texts to continue independently, the release's prompt included.

    One that is given as tokens is used as it is: without BOS, and with the control tokens in it.
    With a `suffix` the answer is what comes between each text and that.
    """

    prompts: tuple[str | tuple[int, ...], ...]
    suffix: str = ""


class Embed(msgspec.Struct, frozen=True, tag="embed", omit_defaults=True):
    """Inputs whose vectors are wanted, each of texts and token ids in their order.

    `field` is that of the request that has them. `dimensions` cuts the vectors, 0 does not; `norm`
    scales them as `wire.Embed` says.
    """

    inputs: tuple[tuple[str | int, ...], ...]
    dimensions: int = 0
    norm: int = 2
    field: str = "input"


class Rerank(msgspec.Struct, frozen=True, tag="rerank", omit_defaults=True):
    """Documents whose relevance to a query is wanted; `field` is that of the request."""

    query: str
    documents: tuple[str, ...]
    field: str = "documents"


Prompt = Chat | Text
"""Inputs that are answered with text."""
Input = Prompt | Embed | Rerank


class Options(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a caller may set for one job; None means the release's own setting.

    The penalties, `min_tokens`, `ignore_eos` and `logit_bias` are those of `wire.Sampling`.
    """

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    n: int = 1
    logprobs: int = -1
    thinking_budget: int | None = None
    repetition_penalty: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repeat_last_n: int | None = None
    min_tokens: int | None = None
    ignore_eos: bool = False
    logit_bias: tuple[tuple[int, float], ...] = ()
    constraint: Constraint | None = None
    echo: bool = False
    prompt_logprobs: int = -1
    token_ids: bool = False


class Asked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request as its caller wrote it, without what its release adds: enough to ask it again."""

    input: Input
    options: Options
    variables: dict[str, Any] = {}


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One request.

    `id` is the request's id (`req_…`), new for each job: a second record with it is dropped.
    `at_us` is the arrival in UTC, `arrived_us` the same moment on the monotonic clock.
    Each prompt gets `n` choices; choice i of all uses `seed + i`. `logprobs`
    is the number of alternatives per token (0: only the chosen one, -1: none). `queue_us` bounds
    the wait for the first token. With `stream` events are passed on as they arrive, so that none
    can be withdrawn. `endpoint` is the path of the request, or the name of the component that made
    the job. `via` names the gateways that it has passed, this one last, so that a loop is found.
    `prompt` are the messages of the release's prompt, which `input` includes; `asked` is the
    request without them, recorded with the texts. `thinking_budget` bounds the tokens of the
    reasoning; None leaves it to the model. What is cached of a prompt is shared by the jobs of one
    `cache_scope`; "" is everybody's. With `echo` each prompt comes back before its answers, with
    the log-probabilities of its tokens if `logprobs` asks for any; with `max_tokens` 0 there is
    nothing else. With `prompt_logprobs` from 0 on the tokens of each prompt come back, with so many
    alternatives each, whether the text does or not. With `token_ids` log-probabilities are of
    tokens with their ids.
    """

    id: str
    at_us: int
    arrived_us: int
    endpoint: str
    service: str
    release: Release
    input: Input
    prompt: tuple[Message, ...] = ()
    sampling: Sampling
    max_tokens: int
    stop: tuple[str, ...] = ()
    n: int = 1
    logprobs: int = -1
    thinking_budget: int | None = None
    constraint: Constraint | None = None
    class_: Class = Class.INTERACTIVE
    key_id: int
    tenant: str
    synthetic: bool = False
    stream: bool = False
    queue_us: int
    record_text: bool = False
    cache_scope: str = ""
    echo: bool = False
    prompt_logprobs: int = -1
    token_ids: bool = False
    asked: Asked | None = None
    via: tuple[str, ...] = ()
    ab_test: int | None = None
    unit: str | None = None

    @property
    def choices(self) -> int:
        """The number of sequences to generate."""
        prompts = len(self.input.prompts) if isinstance(self.input, Text) else 1
        return prompts * self.n

    @property
    def scores_prompts(self) -> bool:
        """Whether something of each prompt comes back."""
        return self.echo or self.prompt_logprobs >= 0


class CallDelta(msgspec.Struct, frozen=True, array_like=True):
    """Part of a call: the first of each `index` has its id and name, each may have more arguments.

    `index` counts the calls of a choice from 0; `arguments` continue the JSON text so far.
    """

    index: int
    id: str
    name: str
    arguments: str


class Delta(msgspec.Struct, frozen=True, array_like=True, tag="delta"):
    """A choice gained content (`text`), reasoning or calls; `tokens` counts its tokens.

    `at_us` is the monotonic time at which the backend received it.
    """

    index: int
    text: str
    tokens: int
    logprobs: tuple[TokenLogprob, ...]
    at_us: int
    reasoning: str = ""
    calls: tuple[CallDelta, ...] = ()


class Finished(msgspec.Struct, frozen=True, array_like=True, tag="finished"):
    """A choice has ended: `reason` is stop, length, tool_calls or cancelled.

    `queue_us` is the time from the job's arrival to its first computation, wherever the job waited;
    `busy_us` the computing time of the choice, 0 where the backend does not report it.
    `instance` names the instance that computed it, "" where the backend has no instances.
    `cached_tokens` are prompt tokens that were in a cache. `stop` is the stop string that ended it,
    "" where none did or where the backend does not say.
    """

    index: int
    reason: str
    prompt_tokens: int
    completion_tokens: int
    queue_us: int
    busy_us: int
    instance: str = ""
    cached_tokens: int = 0
    stop: str = ""


class Vectors(msgspec.Struct, frozen=True, array_like=True, tag="vectors"):
    """All that was asked for: `width` little-endian float32 `values` for each input, in order.

    Of a `Rerank` they are the scores of its documents, `width` 1.
    """

    values: bytes
    width: int


class Restarted(msgspec.Struct, frozen=True, array_like=True, tag="restarted"):
    """All choices begin again: discard earlier events. Never sent to a job that streams."""


class Prefilled(msgspec.Struct, frozen=True, array_like=True, tag="prefilled"):
    """The prompt of a choice was computed; `cached_tokens` of it were in a cache.

    Comes before the first `Delta` of a choice that streams, from backends that know it by then.
    """

    index: int
    prompt_tokens: int
    cached_tokens: int


class PromptToken(msgspec.Struct, frozen=True, array_like=True):
    """A token of a prompt; nothing comes before the first one, so that it has no `logprob`.

    `top` are the most likely tokens at its place, best first. `hidden`: text does not show it.
    `token` is its id, -1 where the backend does not say.
    """

    raw: bytes
    logprob: float | None
    top: tuple[Logprob, ...] = ()
    hidden: bool = False
    token: int = -1


class Echoed(msgspec.Struct, frozen=True, array_like=True, tag="echoed"):
    """The prompt of a choice, before anything else of it; `tokens` where `logprobs` asks for them.

    `text` and `tokens` are there with `echo` only, and `scored` with `prompt_logprobs`. It is no
    part of the answer: neither its text nor its tokens are recorded as such.
    """

    index: int
    text: str
    tokens: tuple[PromptToken, ...] = ()
    scored: tuple[PromptToken, ...] = ()


Event = Delta | Echoed | Finished | Prefilled | Restarted | Vectors


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """A continuation to score under a release: one prefill, no decoding."""

    release: Release
    input: Chat | Text
    continuation: str
    class_: Class = Class.BACKGROUND
    tenant: str = "paddock"
    queue_us: int = 30_000_000


class Tokens(msgspec.Struct, frozen=True):
    """Tokens with their exact bytes; `context_tokens` is the most that a prompt may have."""

    tokens: tuple[int, ...]
    raw: tuple[bytes, ...]
    context_tokens: int


class Vocabulary(msgspec.Struct, frozen=True):
    """The names of a model's special tokens; "" for those that it does not have."""

    bos: str
    eos: str
    chat_template: str
    context_tokens: int


class Scored(msgspec.Struct, frozen=True):
    """The log-probability of each token of the continuation, in order; `busy_us` is the cost.

    `top_tokens` of them are the release's first choice, None where the backend does not say.
    """

    tokens: tuple[Logprob, ...]
    prompt_tokens: int
    busy_us: int
    top_tokens: int | None = None
