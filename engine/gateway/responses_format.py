"""OpenAI's documents for responses, whole and streamed.

A stream names and numbers its events, and repeats each item when it is complete. Knows nothing of
HTTP or backends. Imported by `engine.gateway.responses`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec

from engine.execution.answers import Answer, Choice
from engine.execution.job import Call, CallDelta, Finished, Job, TokenLogprob
from engine.gateway import response_tools, responses_bodies, responses_items, timings
from engine.gateway.errors import Problem
from engine.gateway.formats import Format, Head
from engine.gateway.openai_format import quoted
from engine.gateway.responses_items import FunctionCall, Item, Message, Reasoning

_encode: Final = msgspec.json.Encoder().encode


class ResponseFormat(Format):
    """POST /v1/responses. A stream has one item open at a time."""

    def __init__(self, head: Head, body: responses_bodies.Response, job: Job) -> None:
        """Nothing is written yet."""
        self._head = head
        self._body = body
        self._job = job
        self._events = 0
        self._items: list[dict[str, Any]] = []
        self._item: Item | None = None
        self._content = ""
        self._texts: list[str] = []
        self._namespaces = response_tools.namespaces(body.tools or ())

    # streamed

    def opening(self, _: Choice) -> bytes:
        """The response without output."""
        response = self._response("in_progress", [])
        return self._event("response.created", response=response) + self._event(
            "response.in_progress", response=response
        )

    def chunk(self, _: int, text: str, __: Sequence[TokenLogprob]) -> bytes:
        """A piece of the text."""
        return self._begin("text", lambda: Message(f"{self._head.id}_1")) + self._piece(text)

    def reasoning(self, _: int, text: str) -> bytes:
        """A piece of the reasoning."""
        return self._begin("reasoning", lambda: Reasoning(f"{self._head.id}_0")) + self._piece(text)

    def calls(self, _: int, parts: Sequence[CallDelta]) -> bytes:
        """Pieces of calls, each an item of its own."""
        return b"".join(map(self._call, parts))

    def _call(self, part: CallDelta) -> bytes:
        def call() -> FunctionCall:
            called = Call(part.id, part.name, "")
            return FunctionCall(f"{self._head.id}_{part.index + 2}", called, self._namespaces)

        return self._begin(f"call {part.index}", call) + self._piece(part.arguments)

    def _begin(self, content: str, item: Callable[[], Item]) -> bytes:
        """What completes the open item and opens one for this content, if it is another."""
        if content == self._content:
            return b""
        completed = self._complete("completed")
        self._content = content
        self._item = opened = item()
        at = len(self._items)
        document = opened.document("in_progress")
        began = self._event("response.output_item.added", output_index=at, item=document)
        if (part := opened.part()) is not None:
            began += self._event("response.content_part.added", **self._place(opened), part=part)
        return completed + began

    def _piece(self, text: str) -> bytes:
        item = self._item
        if item is None or not text:
            return b""
        self._texts.append(text)
        return self._event(f"{item.event}.delta", **self._place(item), delta=text)

    def _complete(self, status: str) -> bytes:
        item = self._item
        if item is None:
            return b""
        item.text = "".join(self._texts)
        self._texts.clear()
        self._item, self._content = None, ""
        place, part, document = self._place(item), item.part(), item.document(status)
        done = self._event(f"{item.event}.done", **place, **{item.field: item.text})
        if part is not None:
            done += self._event("response.content_part.done", **place, part=part)
        at = len(self._items)
        self._items.append(document)
        return done + self._event("response.output_item.done", output_index=at, item=document)

    def _place(self, item: Item) -> dict[str, Any]:
        """Where text belongs: the item, and the part of its content if it has any."""
        place = {"item_id": item.document("")["id"], "output_index": len(self._items)}
        return place if item.part() is None else {**place, "content_index": 0}

    def ending(self, finished: Finished) -> bytes:
        """The end of the last item; an empty answer has an empty message."""
        begun = b"" if self._item or self._items else self.chunk(0, "", ())
        return begun + self._complete(_status(finished))

    def closing(self, answer: Answer) -> bytes:
        """The response with its output and the token counts."""
        finish = answer.choices[0].finish
        status = _status(finish)
        response = self._response(status, self._items, answer)
        return self._event(f"response.{status}", response=response, **self._timings(answer))

    def failed(self, problem: Problem) -> bytes:
        """An event of type error."""
        return self._event("error", code=problem.code, message=problem.message, param=problem.param)

    def _event(self, name: str, **fields: object) -> bytes:
        self._events += 1
        data = quoted({"type": name, "sequence_number": self._events - 1, **fields})
        return b"event: %b\ndata: %b\n\n" % (name.encode(), data)

    # whole

    def pieces(self, answer: Answer) -> Iterator[bytes]:
        """The response."""
        (choice,) = answer.choices
        status = _status(choice.finish)
        items = responses_items.of(choice, self._head.id, self._namespaces)
        output = [each.document(status) for each in items]
        yield _encode(self._response(status, output, answer) | self._timings(answer))

    def _timings(self, answer: Answer) -> dict[str, object]:
        """What llama-server's clients read beside a response, where they ask for it."""
        if not self._body.timings_per_token:
            return {}
        return {"timings": timings.of(answer, self._job.arrived_us)}

    def _response(
        self, status: str, output: Sequence[object], answer: Answer | None = None
    ) -> dict[str, Any]:
        body, job = self._body, self._job
        cut = {"reason": "max_output_tokens"} if status == "incomplete" else None
        return {
            "id": f"resp_{self._head.id}",
            "object": "response",
            "created_at": self._head.created,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": cut,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "metadata": body.metadata or {},
            "model": self._head.model,
            "output": output,
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": body.previous_response_id,
            "reasoning": {"effort": body.reasoning and body.reasoning.effort, "summary": None},
            "store": job.record_text,
            "temperature": job.sampling.temperature,
            "text": {"format": (body.text and body.text.format) or {"type": "text"}},
            "tool_choice": body.tool_choice or "auto",
            "tools": [*response_tools.offered(body.tools or ())],
            "top_p": job.sampling.top_p,
            "truncation": "disabled",
            "usage": None if answer is None else _usage(answer),
            "user": body.user,
        }


def _status(finish: Finished | None) -> str:
    return "incomplete" if finish is not None and finish.reason == "length" else "completed"


def _usage(answer: Answer) -> dict[str, Any]:
    """The token counts; no tokens are charged for being written to a cache."""
    prompt, completion = answer.prompt_tokens, answer.completion_tokens
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": answer.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": completion,
        "output_tokens_details": {"reasoning_tokens": answer.reasoning_tokens},
        "total_tokens": prompt + completion,
    }
