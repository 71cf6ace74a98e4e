"""What the model reads: the release's prompt with what the client wrote.

Chooses nothing and sends nothing. Imported by the gateway.
"""

from __future__ import annotations

from typing import Any

from engine.execution.catalog import Picture
from engine.gateway import bodies, errors
from engine.prompting import rendering
from engine.serving import wire
from storage.releases import Release

Prompt = tuple[list[rendering.Message], list[str] | None]
"""The messages; and, for text, what is to be continued after them."""


def read(picture: Picture, release: Release, body: bodies.Chat | bodies.Completion) -> Prompt:
    """The prompt version's messages with the client's."""
    given: dict[str, Any] = body.prompt_variables or {}
    own: tuple[rendering.Message, ...] = ()
    try:
        if release.prompt_version_id is not None:
            own = picture.prompts[release.prompt_version_id].render(given)
        elif given:
            unasked = f"release {release.name} has no prompt and takes no prompt_variables"
            raise rendering.BadVariables(unasked)  # noqa: TRY301 it is told like the others
    except rendering.BadVariables as error:
        raise errors.BadRequest(
            errors.sentence(error), code="invalid_prompt_variables", param="prompt_variables"
        ) from error
    except rendering.BrokenTemplate as error:
        raise errors.Broken(errors.sentence(error), code="prompt_broken") from error
    if isinstance(body, bodies.Completion):
        return list(own), body.prompts()
    return rendering.joined(own, [_message(p, turn) for p, turn in enumerate(body.messages)]), None


def _message(place: int, turn: bodies.Turn) -> rendering.Message:
    """A client's message as the model's template takes it."""
    where = f"messages[{place}]"
    if turn.role in {"tool", "function"} or turn.tool_calls or turn.function_call or turn.audio:
        raise errors.BadRequest(
            f"{where}: tools and audio are not supported here.",
            code="unsupported_parameter",
            param=where,
        )
    if isinstance(turn.content, list):
        for number, part in enumerate(turn.content):
            if part.type not in {"text", "refusal"} or (part.type == "text" and part.text is None):
                raise errors.BadRequest(
                    f"{where}.content[{number}]: only parts of type text are supported here.",
                    code="unsupported_parameter",
                    param=f"{where}.content[{number}]",
                )
        content = "".join(part.text or "" for part in turn.content)
    elif turn.content is None and turn.role != "assistant":
        raise errors.BadRequest(
            f"{where}.content: a message of role {turn.role} needs content.",
            code="invalid_value",
            param=f"{where}.content",
        )
    else:
        content = turn.content or ""
    role = "system" if turn.role == "developer" else turn.role
    return rendering.Message(role, content)


def segments(
    template: rendering.ChatTemplate | None, prompt: Prompt
) -> list[tuple[wire.Segment, ...]]:
    """What the worker tokenises, for each prompt."""
    messages, texts = prompt
    if texts is not None:
        return [rendering.continued(messages, text) for text in texts]
    if template is None:
        raise errors.Unavailable("The worker is not there.", code="worker_unavailable")
    try:
        return [template.segments(messages)]
    except rendering.BadConversation as error:
        raise errors.BadRequest(
            errors.sentence(error), code="invalid_value", param="messages"
        ) from error
    except rendering.BrokenTemplate as error:
        raise errors.Broken(errors.sentence(error), code="template_broken") from error


def shown(prompt: Prompt) -> str:
    """The text of it all, for whoever writes it down."""
    messages, texts = prompt
    said = [f"{message.role}: {message.content}" for message in messages]
    return "\n\n".join([*said, *(texts or [])])
