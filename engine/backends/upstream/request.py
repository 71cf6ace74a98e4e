"""A job as the body of a request to an OpenAI-compatible server: one request per choice.

Choice i of a job uses `seed + i`, however a server implements `n`; with one choice per request,
`usage` is that choice's alone. Pure. Imported by its neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import msgspec

from engine.backends.upstream import constraint, echo, maker
from engine.execution import failures
from engine.execution.job import Chat, Job, Message, Sampling, Text, Tool

CHAT: Final = "chat/completions"
TEXT: Final = "completions"

_STREAMED: Final = {"stream": True, "stream_options": {"include_usage": True}}
_SEEDS: Final = 2**31
"""Seeds are 32 bits in llama.cpp and signed in others."""
_ALL: Final = 1_000_000
"""As `top_k`: the whole vocabulary. Some servers take 0 for that, some -1, and each refuses the
other; without it they use their own default."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request: its path below the API's base, and its body."""

    path: str
    body: bytes


def conversation(job: Job) -> Mapping[str, Any]:
    """The fields of a job's conversation, encoded once for all its choices; none for a text."""
    if not isinstance(job.input, Chat):
        return {}
    fields = _conversation(job.input)
    return {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in fields.items()}


def of(
    job: Job,
    index: int,
    *,
    model: str,
    extensions: bool,
    made_by: str = maker.UNKNOWN,
    encoded: Mapping[str, Any] = MappingProxyType({}),
) -> Call:
    """The request for one choice of a job; `encoded` is its `conversation`, if that was made.

    Raises:
        failures.Invalid: the server does not take a setting that would change the answer.
    """
    settings = _settings(job, index, extensions=extensions, made_by=made_by)
    body = {"model": model} | settings
    if isinstance(job.input, Chat):
        body |= encoded or _conversation(job.input)
        return Call(CHAT, msgspec.json.encode(body))
    return Call(TEXT, msgspec.json.encode(body))


def check(job: Job, index: int, *, extensions: bool, made_by: str) -> None:
    """Refuse what `of` refuses, without a body.

    Raises:
        failures.Invalid: the server does not take a setting that would change the answer.
    """
    _settings(job, index, extensions=extensions, made_by=made_by)


def _settings(job: Job, index: int, *, extensions: bool, made_by: str) -> dict[str, Any]:
    """The fields of a request without its model and its conversation."""
    _check_ids(job)
    body: dict[str, Any] = {
        **({"stream": False} if job.echo else _STREAMED),
        "temperature": job.sampling.temperature,
        "top_p": job.sampling.top_p,
        "max_tokens": job.max_tokens,
        "seed": (job.sampling.seed + index) % _SEEDS,
    }
    if job.stop:
        body["stop"] = list(job.stop)
    if extensions:
        body |= {"top_k": job.sampling.top_k or _ALL, "min_p": job.sampling.min_p}
    body |= _changes(job.sampling, extensions=extensions, made_by=made_by)
    chat = isinstance(job.input, Chat)
    if job.constraint is not None:
        body |= constraint.fields(job.constraint, made_by=made_by, chat=chat)
    # llama-server takes 0 alternatives for no log-probabilities at all; `answer` drops the surplus.
    alternatives = max(1, job.logprobs)
    if isinstance(job.input, Chat):
        if job.input.continued or not job.input.generation_prompt:
            body |= _continuation(job.input, extensions=extensions)
        if job.thinking_budget is not None:
            body["thinking_budget"] = job.thinking_budget
        if job.logprobs >= 0:
            body |= {"logprobs": True, "top_logprobs": alternatives}
        return body
    assert isinstance(job.input, Text)  # noqa: S101 embeddings are asked for elsewhere
    body |= _continued(job, job.input, index)
    if job.logprobs >= 0:
        body["logprobs"] = alternatives
    return body


def _check_ids(job: Job) -> None:
    """Refuse what needs the ids of tokens, which servers name by their text."""
    field = "prompt_logprobs" if job.prompt_logprobs >= 0 else "return_tokens_as_token_ids"
    if job.prompt_logprobs >= 0 or (job.token_ids and job.logprobs >= 0):
        raise failures.Invalid(
            f"{field} needs the ids of tokens, and the upstream of this release has only their "
            "texts; use logprobs, with echo for those of the prompt",
            code="unsupported_parameter",
            param=field,
        )


def _continued(job: Job, input: Text, index: int) -> dict[str, Any]:
    """The fields of a text completion.

    One that returns its prompt comes whole. It answers at least one token: without any, some
    servers answer without end.
    """
    prompt = input.prompts[index // job.n]
    fields: dict[str, Any] = {"prompt": prompt}
    if input.suffix:
        fields["suffix"] = input.suffix
    if not job.echo:
        return fields
    if job.max_tokens and job.logprobs < 0 and not isinstance(prompt, str):
        raise echo.unsupported("nothing tells where its answer begins after token ids")
    return fields | {"echo": True, "max_tokens": max(1, job.max_tokens)}


def _conversation(chat: Chat) -> dict[str, Any]:
    """The fields of a chat; those that its caller did not set are left out."""
    fields: dict[str, Any] = {"messages": [_message(message) for message in chat.messages]}
    if chat.template_arguments:
        fields["chat_template_kwargs"] = chat.template_arguments
    if chat.effort is not None:
        fields["reasoning_effort"] = chat.effort
    if not chat.tools:
        return fields
    fields["tools"] = [_tool(tool) for tool in chat.tools]
    named = {"type": "function", "function": {"name": chat.only_tool}}
    fields["tool_choice"] = named if chat.only_tool else chat.tool_choice
    if chat.parallel_calls is not None:
        fields["parallel_tool_calls"] = chat.parallel_calls
    return fields


def _continuation(chat: Chat, *, extensions: bool) -> dict[str, Any]:
    """What follows the last message: vLLM's fields, of which llama-server knows the second."""
    if not extensions:
        raise failures.Invalid(
            "the upstream of this release takes only OpenAI's fields, and none of them says how a "
            "prompt ends",
            code="unsupported_parameter",
            param="continue_final_message" if chat.continued else "add_generation_prompt",
        )
    continued = {"continue_final_message": True} if chat.continued else {}
    return {**continued, "add_generation_prompt": False}


def _message(message: Message) -> dict[str, Any]:
    fields: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.calls:
        fields["content"] = message.content or None
        fields["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.calls
        ]
    if message.reasoning:
        fields["reasoning_content"] = message.reasoning
    if message.call_id:
        fields["tool_call_id"] = message.call_id
    if message.name:
        fields["name"] = message.name
    return fields


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.parameters is not None:
        function["parameters"] = tool.parameters
    if tool.strict:
        function["strict"] = True
    return {"type": "function", "function": function}


def needs_maker(job: Job) -> bool:
    """Whether the request depends on which program the server is."""
    chat, bound = isinstance(job.input, Chat), job.constraint
    needed = bound is not None and constraint.needs_maker(bound, chat=chat)
    return needed or job.sampling.min_tokens > 0


def _changes(sampling: Sampling, *, extensions: bool, made_by: str) -> dict[str, Any]:
    """Penalties, bias and minimum length, where they change anything.

    vLLM and SGLang read `repetition_penalty`, llama-server `repeat_penalty` with its window; each
    ignores the other's name.
    """
    body: dict[str, Any] = {}
    if sampling.frequency_penalty:
        body["frequency_penalty"] = sampling.frequency_penalty
    if sampling.presence_penalty:
        body["presence_penalty"] = sampling.presence_penalty
    if sampling.logit_bias:
        body["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias}
    own: dict[str, Any] = {}
    if sampling.repetition_penalty != 1:
        own["repetition_penalty"] = own["repeat_penalty"] = sampling.repetition_penalty
        own["repeat_last_n"] = -1
    if sampling.repeat_last_n is not None and (body or own):
        own["repeat_last_n"] = sampling.repeat_last_n
    if sampling.min_tokens:
        own["min_tokens"] = sampling.min_tokens
    if sampling.ignore_eos:
        own["ignore_eos"] = True
    field = next(iter(own)) if own and not extensions else None
    if sampling.min_tokens and made_by == maker.LLAMA:
        field = "min_tokens"
    if field is not None:
        raise failures.Invalid(
            f"the upstream of this release does not take {field}",
            code="unsupported_parameter",
            param=field,
        )
    return body | own
