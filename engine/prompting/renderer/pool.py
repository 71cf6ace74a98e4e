"""The pool of renderer processes: compiles and renders untrusted templates outside this process.

Starts processes when there is work, keeps them warm, and replaces those that die. A template that
kills its process is quarantined: it fails at once, with the reason, until that is lifted. All calls
happen on one event loop. Imported by `engine.prompting`, `engine.control` and `engine.registry`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Self

import structlog

from engine.execution import failures
from engine.prompting.renderer import faults, protocol
from engine.prompting.renderer.child import LIMITS, Child, Death, Limits, Task
from engine.prompting.renderer.faults import Exceeded, TemplateFault
from engine.prompting.renderer.protocol import (
    Answer,
    ChatSource,
    Fault,
    Keyed,
    Names,
    PromptSource,
    ReadNames,
    RenderChat,
    RenderPrompt,
    Segments,
    Source,
    Texts,
    Work,
)
from engine.prompting.renderer.quarantine import Quarantine
from engine.serving.wire import Segment

WAITING_LIMIT: Final = 1024
"""Work that may wait for a process."""
PROCESSES: Final = 2
_MANY: Final = 100
_LARGE: Final = 100_000
"""Number of texts, and of their characters, above which a sound template may be slow."""
_CPU_PER_TEXT_S: Final = 0.005
_CPU_PER_CHARACTER_S: Final = 1e-6
_CPU_MOST_S: Final = 30.0
_ATTEMPTS: Final = 2
_RETRY_US: Final = 1_000_000
_UNSTARTED: Final = 3
"""Consecutive processes that die before they are ready, after which work is refused."""

_STOPPING: Final = "the renderer is stopping; send the request again"

_log = structlog.get_logger("renderer")


def large(texts: Sequence[str]) -> bool:
    """Whether a sound template may exceed its bounds with so much text."""
    return len(texts) > _MANY or sum(map(len, texts)) > _LARGE


class Renderer:
    """Starts its first process with the first task. Use it in `async with`, or close it."""

    def __init__(
        self,
        *,
        processes: int = PROCESSES,
        limits: Limits = LIMITS,
        on_quarantine: Callable[[Keyed[Source], str], None] = lambda _, __: None,
    ) -> None:
        """At most so many `processes`; `limits` apply to small inputs.

        `on_quarantine` is called with each quarantined source and the reason.
        """
        self._most = processes
        self._limits = limits
        self._children: set[Child] = set()
        self._starting: set[asyncio.Task[None]] = set()
        self._waiting: deque[Task] = deque()
        self._quarantine = Quarantine(on_quarantine)
        self._unstarted = 0
        self._closed = False

    async def __aenter__(self) -> Self:
        """Itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self.close()

    async def texts(
        self, source: Keyed[PromptSource], values: Mapping[str, Any]
    ) -> tuple[str, ...]:
        """The rendered templates of a prompt.

        Raises:
            TemplateFault: one failed.
            failures.Failure: nothing can be rendered now.
        """
        given = [value for value in values.values() if isinstance(value, str)]
        answer = await self._do(source, RenderPrompt(dict(values)), given)
        assert isinstance(answer, Texts)  # noqa: S101 checked by `_do`
        return answer.texts

    async def segments(
        self,
        source: Keyed[ChatSource],
        messages: Iterable[Mapping[str, Any]],
        arguments: Mapping[str, Any],
        *,
        tools: Iterable[Mapping[str, Any]] = (),
        fold_system: bool = False,
        continued: bool = False,
        generation_prompt: bool = True,
        marks: Mapping[str, str] = MappingProxyType({}),
    ) -> tuple[Segment, ...]:
        """Render a chat template for messages and tools in Hugging Face's form.

        With `continued` it ends with the content of the last message, without `generation_prompt`
        with the message. The characters of `marks` in it become control tokens.

        Raises:
            TemplateFault: it failed.
            failures.Failure: nothing can be rendered now.
        """
        work = RenderChat(
            tuple(dict(each) for each in messages),
            dict(arguments),
            fold_system,
            tuple(dict(each) for each in tools),
            continued,
            generation_prompt,
            dict(marks),
        )
        texts = [str(each.get("content") or "") for each in work.messages]
        answer = await self._do(source, work, texts)
        assert isinstance(answer, Segments)  # noqa: S101 checked by `_do`
        return answer.segments

    async def names(self, source: Keyed[PromptSource]) -> tuple[frozenset[str], ...]:
        """The variables that each template of a prompt uses.

        Raises:
            TemplateFault: one cannot be compiled.
            failures.Failure: nothing can be compiled now.
        """
        answer = await self._do(source, ReadNames(), ())
        assert isinstance(answer, Names)  # noqa: S101 checked by `_do`
        return tuple(frozenset(each) for each in answer.names)

    def quarantined(self, source: Keyed[Source]) -> str | None:
        """Why a source is quarantined, None if it is not."""
        return self._quarantine.reason(source.key)

    def follow(self, stored: Mapping[bytes, str]) -> None:
        """Quarantine the sources with these keys, and release those no longer among them."""
        self._quarantine.follow(stored)

    def warm(self) -> None:
        """Start a process, so that the first work does not wait for it."""
        if not self._children and not self._closed:
            self._start()

    async def close(self) -> None:
        """End the processes; waiting tasks fail."""
        self._closed = True
        self._fail_waiting(_STOPPING)
        for child in self._children:
            if child.task is not None and not child.task.result.done():
                child.task.result.set_exception(_unavailable(_STOPPING))
        await asyncio.gather(*self._starting, return_exceptions=True)
        await asyncio.gather(*(child.close() for child in tuple(self._children)))

    # work

    async def _do(self, template: Keyed[Source], work: Work, given: Sequence[str]) -> Answer:
        if (reason := self._quarantine.reason(template.key)) is not None:
            raise Exceeded(reason, quarantined=True)
        answer = await self._queue(template, work, given)
        if isinstance(answer, Fault):
            kind = faults.KINDS.get(answer.kind, TemplateFault)
            raise kind(answer.message, answer.line, place=answer.place)
        return answer

    async def _queue(self, template: Keyed[Source], work: Work, given: Sequence[str]) -> Answer:
        if self._closed:
            raise _unavailable(_STOPPING)
        if len(self._waiting) >= WAITING_LIMIT:
            raise failures.Overloaded(
                f"{WAITING_LIMIT} requests already wait for their template to be rendered",
                code="queue_full",
                retry_after_us=_RETRY_US,
            )
        more_s = _CPU_PER_TEXT_S * len(given) + _CPU_PER_CHARACTER_S * sum(map(len, given))
        cpu_s = self._limits.render_s + min(more_s, _CPU_MOST_S)
        raw = protocol.encode(protocol.Render(template.key, work, cpu_s))
        task = Task(
            template=template,
            raw=raw,
            cpu_s=cpu_s,
            large=large(given) or len(raw) > _LARGE,  # the arguments are the caller's, too
            result=asyncio.get_running_loop().create_future(),
        )
        self._waiting.append(task)
        self._dispatch()
        return await task.result

    def _dispatch(self) -> None:
        """Give waiting work to free processes; start another when all are busy."""
        for child in self._children:
            if not self._waiting:
                return
            free = child.ready and not child.retired and child.task is None
            if free and (task := self._next()) is not None:
                child.run(task)
        starting = any(not (child.ready or child.retired) for child in self._children)
        if self._waiting and not starting and len(self._children) < self._most:
            self._start()

    def _next(self) -> Task | None:
        """The task that has waited longest; large inputs leave one process to small ones."""
        while self._waiting and self._waiting[0].result.done():
            self._waiting.popleft()  # its caller has gone
        busy = sum(child.task is not None and child.task.large for child in self._children)
        takes_large = self._most == 1 or busy < self._most - 1
        for task in self._waiting:
            if (takes_large or not task.large) and not task.result.done():
                self._waiting.remove(task)
                return task
        return None

    # processes

    def _start(self) -> None:
        child = Child(self._limits, self._freed, self._died)
        self._children.add(child)
        starting = asyncio.get_running_loop().create_task(self._begin(child), name="renderer")
        self._starting.add(starting)
        starting.add_done_callback(self._starting.discard)

    async def _begin(self, child: Child) -> None:
        try:
            await child.start()
        except OSError as error:
            self._children.discard(child)
            self._fail_waiting(f"templates are rendered in a process that cannot start: {error}")

    def _freed(self, _: Child) -> None:
        self._unstarted = 0
        self._dispatch()

    def _died(self, child: Child, death: Death) -> None:
        self._children.discard(child)
        if self._closed:
            return
        if not child.ready:
            self._unstarted += 1
            _log.error("a renderer process ended before it was ready", reason=death.reason)
            if self._unstarted >= _UNSTARTED:
                self._fail_waiting("templates are rendered in a process that does not start")
        task, child.task = child.task, None
        if task is not None and not task.result.done():
            self._settle(task, death)
        self._dispatch()
        if child.ready:
            self.warm()

    def _settle(self, task: Task, death: Death) -> None:
        """A process died during a task: try the task again, or give up."""
        task.attempts += 1
        if not death.certain and task.attempts < _ATTEMPTS:
            self._waiting.appendleft(task)
            return
        if death.external:
            why = f"the template was not rendered: {death.reason}"
            task.result.set_exception(_unavailable(why))
            return
        if not task.large:
            self._quarantine.add(task.template, death.reason)
        task.result.set_exception(Exceeded(death.reason, quarantined=not task.large))

    def _fail_waiting(self, why: str) -> None:
        waiting, self._waiting = self._waiting, deque()
        for task in waiting:
            if not task.result.done():
                task.result.set_exception(_unavailable(why))


def _unavailable(why: str) -> failures.Unavailable:
    return failures.Unavailable(why, code="renderer_unavailable", retry_after_us=_RETRY_US)
