"""Bodies of /tokenize and /detokenize, with the fields of vLLM's clients and of llama-server's.

Imported by `engine.gateway.tokens`.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from engine.execution import job
from engine.gateway import errors, prompt_fields, request_bodies, tool_bodies, turns

_Name = Annotated[str, Meta(max_length=512)]


class Tokenize(msgspec.Struct, kw_only=True):
    """A text (`prompt`, or llama-server's `content`) or a conversation.

    vLLM adds BOS to a text unless asked not to, llama-server only when it is asked to, and
    reads control tokens that the text spells; a `prompt` that is nothing but one is that token.
    Without `model` the path names the service, or there is only one.
    """

    model: _Name | None = None
    prompt: str | None = None
    content: str | None = None
    messages: Annotated[list[turns.Turn], Meta(min_length=1, max_length=10_000)] | None = None
    tools: tool_bodies.Tools | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    prompt_variables: dict[str, Any] | None = None
    add_generation_prompt: bool | None = None
    add_special_tokens: bool | None = None
    add_special: bool | None = None
    parse_special: bool | None = None
    return_token_strs: bool | None = None
    with_pieces: bool | None = None
    user: _Name | None = None

    @property
    def unit(self) -> str | None:
        """The user who stays on one arm of a split."""
        return self.user

    def input(self) -> job.Chat | job.Text:
        """What is tokenised.

        Raises:
            BadRequest: it is not exactly one of prompt, content and messages.
        """
        given = [self.prompt is not None, self.content is not None, self.messages is not None]
        if sum(given) != 1:
            raise errors.invalid("prompt", "send one of prompt, content and messages")
        if self.messages is None:
            return job.Text(((self.content if self.prompt is None else self.prompt) or "",))
        return request_bodies.Chat(
            model=self.model or "",
            messages=self.messages,
            tools=self.tools,
            chat_template_kwargs=self.chat_template_kwargs,
            add_generation_prompt=self.add_generation_prompt,
        ).input()

    @property
    def bos(self) -> bool:
        """Whether BOS is added where the model asks for it."""
        if self.content is not None:
            return bool(self.add_special)
        return self.add_special_tokens is not False

    @property
    def special(self) -> bool | None:
        """Whether control tokens spelled in a text are parsed; None: if it is nothing else."""
        return None if self.content is None else self.parse_special is not False


class Detokenize(msgspec.Struct, kw_only=True):
    """Tokens whose text is wanted."""

    model: _Name | None = None
    tokens: Annotated[list[prompt_fields.Token], Meta(max_length=prompt_fields.TOKENS_LIMIT)]
    user: _Name | None = None

    @property
    def unit(self) -> str | None:
        """The user who stays on one arm of a split."""
        return self.user

    @property
    def prompt_variables(self) -> dict[str, Any] | None:
        """Tokens come after any prompt."""
        return None

    def input(self) -> job.Text:
        """There is none."""
        return job.Text(())
