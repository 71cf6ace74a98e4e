"""A model's chat template: from messages to the segments that a worker tokenises.

Tried once, when a worker connects; `fault` is set if it cannot render a plain conversation, or if
it was quarantined since. Compiled and rendered by a renderer process. Never counts tokens. Imported
by `engine.backends` and `engine.registry`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, Self

import msgspec

from engine.chat_syntax import families
from engine.chat_syntax.syntax import Family
from engine.execution.job import Chat, Message, Text, Tool, Vocabulary
from engine.prompting import chat_turns, textual_tools
from engine.prompting.renderer import faults, pool
from engine.prompting.renderer.pool import Renderer
from engine.prompting.renderer.protocol import ChatSource, Keyed
from engine.prompting.textual_tools import Written
from engine.serving import wire

CHATML: Final = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{{ '<|im_start|>assistant\n' }}"
)
"""Used where a GGUF has no chat template."""

RESERVED: Final = frozenset(
    ("messages", "tools", "documents", "add_generation_prompt", "bos_token", "eos_token")
)
"""Names that a caller's template arguments cannot have."""

PLAIN: Final = Chat((Message("user", "Hello."),))
"""A conversation that every template has to render."""
_SYSTEM: Final = "A system text."
_WITH_SYSTEM: Final = Chat((Message("system", _SYSTEM), Message("user", "Hello.")))


def ordinary(chat: Chat) -> bool:
    """Whether a conversation has the form that every chat model is trained on.

    System messages first, then user and assistant in turn, the user first and last; no arguments.
    """
    roles = [message.role for message in chat.messages]
    while roles[:1] == ["system"]:
        del roles[0]
    turns = ["user", "assistant"] * (len(roles) // 2) + ["user"]
    return roles == turns and not (chat.template_arguments or chat.tools or chat.effort)


class BadConversation(Exception):
    """The model's chat template refuses these messages, or fails for them; the message says how.

    It has rendered a plain conversation, so other requests can still be answered.
    """


class LongConversation(BadConversation):
    """The messages or the prompt cannot fit the model's context."""


class BadArguments(BadConversation):
    """The template renders these messages, but not with the caller's arguments."""


class BrokenTemplate(Exception):
    """The model's chat template is faulty; its file has to be replaced.

    `plain`: it fails for every conversation. Otherwise it exceeded its limits on a short one.
    """

    def __init__(self, message: str, *, plain: bool) -> None:
        super().__init__(message)
        self.plain = plain


class ChatTemplate:
    """The chat template of one model.

    If the template takes no system message, a system text is put before the next user message, as
    other servers do. If it shows no tools, a system text describes them. `family` is the format in
    which its model writes calls and reasoning.
    """

    def __init__(
        self,
        source: ChatSource,
        renderer: Renderer,
        sha256: str = "",
        infill: Sequence[str] = (),
        controls: Mapping[str, int] | None = None,
    ) -> None:
        """Call `prepare` before use.

        `sha256` is that of the model's file, `infill` are its marks as `wire.Hello` has them.
        `controls` are the control tokens of its vocabulary with their ids.
        """
        self.infill = tuple(infill)
        self.controls = controls or {}
        self._renderer = renderer
        self._source = Keyed(source, sha256)
        self._takes_system = True
        self._form = chat_turns.base(source.template)
        self._fault: str | None = None
        self.family = families.of(source.template)

    @classmethod
    def of(cls, hello: wire.Hello, renderer: Renderer) -> Self:
        """The template of the model that a worker has loaded."""
        source = ChatSource(
            hello.chat_template or CHATML,
            control_tokens=hello.control_tokens,
            bos=hello.bos,
            eos=hello.eos,
            context_tokens=hello.sequence_tokens,
            longest_token=hello.longest_token,
        )
        controls = dict(zip(hello.control_tokens, hello.control_ids, strict=False))
        return cls(source, renderer, hello.sha256, hello.infill, controls)

    @property
    def fault(self) -> str | None:
        """Why it cannot be used at all; None when it can."""
        if self._fault is not None:
            return self._fault
        killed = self._renderer.quarantined(self._source)
        return None if killed is None else f"the model's chat template: {killed}"

    @property
    def shows_tools(self) -> bool:
        """Whether the template shows the tools to the model; known once it is prepared.

        A template whose form of calls Paddock cannot parse does not count.
        """
        return self._form.tools and (self.family.calls is not None or self.family.channels)

    @property
    def calling(self) -> Family:
        """The format of an answer in which the model may call tools."""
        if self.shows_tools:
            return self.family
        described = families.DESCRIBED
        return replace(self.family, name=described.name, calls=described.calls)

    async def prepare(self) -> None:
        """Try the template on plain conversations; CHATML needs no trial.

        Raises:
            failures.Failure: it cannot be tried now.
        """
        if self._source.source.template == CHATML:
            return
        try:
            await self.segments(PLAIN)
        except (BadConversation, BrokenTemplate) as error:
            self._fault = f"{error} (tried with one user message)"
            return
        try:
            rendered = await self.segments(_WITH_SYSTEM)
        except (BadConversation, BrokenTemplate):
            self._takes_system = False
        else:
            self._takes_system = _SYSTEM in "".join(segment.text for segment in rendered)
        await self._try_tools()

    async def _try_tools(self) -> None:
        """Find the form in which the template shows tools and calls, if it does."""
        source = self._source.source.template
        if "tool_calls" in source:
            for form in chat_turns.candidates(source):
                if chat_turns.shows_calls(await self._tried(chat_turns.PROBE, form)):
                    self._form = form
                    break
        if "tools" in source:
            asking = msgspec.structs.replace(chat_turns.PROBE, messages=PLAIN.messages)
            shown = chat_turns.PROBE.tools[0].name in await self._tried(asking, self._form)
            self._form = replace(self._form, tools=shown)
        if self._form.tools and not self._form.calls:
            asking = msgspec.structs.replace(chat_turns.PROBE, messages=chat_turns.RESULT)
            results = chat_turns.RESULT[-1].content in await self._tried(asking, self._form)
            self._form = replace(self._form, results=results)

    async def _tried(self, chat: Chat, form: chat_turns.Form) -> str:
        """The conversation rendered in this form; empty if the template refuses it."""
        try:
            segments = await self._renderer.segments(
                self._source,
                chat_turns.turns(chat.messages, form),
                {},
                tools=map(chat_turns.tool, chat.tools),
                fold_system=not self._takes_system,
            )
        except faults.TemplateFault:
            return ""
        return "".join(segment.text for segment in segments)

    async def segments(self, chat: Chat) -> tuple[wire.Segment, ...]:
        """The segments for the worker; no text of the caller is read as control tokens.

        Raises:
            BadConversation: the template refuses the messages or the arguments, or they cannot fit.
            BrokenTemplate: the template is faulty.
            failures.Failure: nothing can be rendered now.
        """
        if (fault := self.fault) is not None:
            raise BrokenTemplate(fault, plain=True)
        written, tools = self._shown(chat)
        messages = written.messages
        texts = [message.content for message in messages]
        self._check(texts)
        try:
            return await self._renderer.segments(
                self._source,
                chat_turns.turns(messages, self._form),
                chat_turns.arguments(chat),
                tools=map(chat_turns.tool, tools),
                fold_system=not self._takes_system,
                continued=chat.continued,
                generation_prompt=chat.generation_prompt,
                marks=written.marks,
            )
        except faults.TooLong as fault:
            raise LongConversation(str(fault)) from fault
        except faults.Raised as refused:
            raise BadConversation(f"the model's chat template refuses this: {refused}") from refused
        except (faults.Crowded, faults.Unencodable) as fault:
            raise BadConversation(str(fault)) from fault
        except faults.TemplateFault as fault:
            if isinstance(fault, faults.Exceeded) and pool.large(texts):
                raise BadConversation(
                    f"this is too long for the model's chat template: {fault}"
                ) from fault
            where = f", line {fault.line}" if fault.line else ""
            said = f"the model's chat template{where}: {fault}"
            if chat.template_arguments and await self.renders(chat.messages):
                raise BadArguments(f"with these arguments, {said}") from fault
            if isinstance(fault, faults.Exceeded):
                raise BrokenTemplate(said, plain=False) from fault
            raise BadConversation(said) from fault

    async def renders(self, messages: tuple[Message, ...]) -> bool:
        """Whether messages can be rendered, without arguments."""
        try:
            await self.segments(Chat(messages))
        except (BadConversation, BrokenTemplate):
            return False
        return True

    def _shown(self, chat: Chat) -> tuple[Written, Sequence[Tool]]:
        """Messages and tools for the template; what it cannot show becomes text in the messages."""
        tools = () if chat.tool_choice == "none" else chat.tools
        messages: Sequence[Message] = chat.messages
        described = bool(tools) and not self.shows_tools
        unshown = described or not self._form.calls
        if unshown and any(each.calls or each.role == "tool" for each in messages):
            own = self._form.results and self.shows_tools
            written = textual_tools.written(chat, self.family) if own else None
            if written is not None:
                return written, tools
            messages = textual_tools.turns(messages)
        if described:
            required = chat.tool_choice == "required"
            messages = textual_tools.with_tools(messages, tools, required=required)
            tools = ()
        return Written(messages), tools

    def syntax(self, input: Chat | Text) -> Family:
        """The format in which the model answers this input; see `calling` for calls of tools."""
        if isinstance(input, Text):
            return families.PLAIN
        return self.calling if input.tools else self.family

    @property
    def vocabulary(self) -> Vocabulary:
        """The names of the model's special tokens, the template, and the length of the context."""
        source = self._source.source
        return Vocabulary(source.bos, source.eos, source.template, source.context_tokens)

    def spells_control(self, prompts: Sequence[str | tuple[int, ...]]) -> bool:
        """Whether each prompt is nothing but the name of a control token."""
        names = self._source.source.control_tokens
        return bool(prompts) and all(prompt in names for prompt in prompts)

    def check_prompt(self, prompt: str | tuple[int, ...]) -> None:
        """Refuse a prompt without messages that cannot fit, before it is sent anywhere.

        It is a text, or its tokens.

        Raises:
            LongConversation: it has more tokens than the context.
        """
        tokens = self._least([prompt]) if isinstance(prompt, str) else len(prompt)
        self._check_least("the prompt", tokens)

    def _check(self, texts: Sequence[str]) -> None:
        """Refuse what cannot fit before any work is done; each message has at least one token."""
        self._check_least("the conversation", max(len(texts), self._least(texts)))

    def _least(self, texts: Sequence[str]) -> int:
        """A lower bound of the number of tokens of the texts."""
        longest = self._source.source.longest_token
        return sum(map(len, texts)) // longest if longest else 0

    def _check_least(self, what: str, least: int) -> None:
        room = self._source.source.context_tokens
        if room and least > room:
            raise LongConversation(
                f"{what} has at least {least} tokens, and the context of a sequence holds {room}"
            )
