"""LangChain's ChatOpenAI and OpenAIEmbeddings: run where they are, prints what fails as JSON.

What is tried is for a service of the task that is named as the only argument. The address and the
key come from the environment, as OpenAI's own clients take them. The model is not one that calls
tools by itself: a call is asked for where one has to come.
"""

from __future__ import annotations

import json
import sys
from typing import Any, Literal

from langchain_core.messages import (  # type: ignore[import-not-found]
    AIMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_openai import (  # type: ignore[import-not-found]
    ChatOpenAI,
    OpenAIEmbeddings,
)
from pydantic import BaseModel, ConfigDict

ROUNDING = 1e-4
"""What vectors differ by where they are computed in other company."""
QUESTION = "Notes: order 17 is late. What is the status of order 17?"


class Status(BaseModel):
    """The status of an order."""

    model_config = ConfigDict(extra="forbid")

    state: Literal["late", "shipped", "unknown"]
    days: Literal[1, 2, 3]


class Look(BaseModel):
    """Look an order up."""

    model_config = ConfigDict(extra="forbid")

    order: Literal["16", "17"]


def chat(**settings: Any) -> Any:
    """The model, at the Chat Completions API unless said otherwise."""
    return ChatOpenAI(
        model="ops", max_retries=0, **{"temperature": 0, "max_tokens": 200, **settings}
    )


def answers() -> None:
    """A text, its reason to end, and counts that add up."""
    answer = chat().invoke(QUESTION)
    assert answer.content
    assert answer.response_metadata["finish_reason"] in {"stop", "length"}
    usage = answer.usage_metadata
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


def streams() -> None:
    """The same text and counts as the whole."""
    whole = chat().invoke(QUESTION)
    parts = list(chat(stream_usage=True).stream(QUESTION))
    total = parts[0]
    for part in parts[1:]:
        total += part
    assert total.content == whole.content
    assert total.usage_metadata["total_tokens"] == whole.usage_metadata["total_tokens"]


def tells_probabilities() -> None:
    """One for each token."""
    answer = chat(logprobs=True, top_logprobs=2, max_tokens=5).invoke(QUESTION)
    told = answer.response_metadata["logprobs"]["content"]
    assert "".join(each["token"] for each in told) == answer.content


def answers_in_batches() -> None:
    """In their order."""
    batch = [message.content for message in chat().batch([QUESTION, "Hello."])]
    assert batch[0] == chat().invoke(QUESTION).content


def holds_a_schema() -> None:
    """Strictly, by `response_format`; streamed, too."""
    held = chat().with_structured_output(Status, method="json_schema", strict=True)
    assert isinstance(held.invoke(QUESTION), Status)
    assert isinstance(list(held.stream(QUESTION))[-1], Status)


def holds_a_schema_by_a_call() -> None:
    """With the schema as a tool that has to be called."""
    held = chat().with_structured_output(Status, method="function_calling", strict=True)
    assert isinstance(held.invoke(QUESTION), Status)


def answers_in_json() -> None:
    """With `json_mode` the answer is an object, whatever it has."""
    held = chat().with_structured_output(Status, method="json_mode", include_raw=True)
    assert isinstance(json.loads(held.invoke(f"{QUESTION} In JSON.")["raw"].content), dict)


def calls_tools() -> None:
    """One that has to be called, whichever it is, whole and streamed; its result is read."""
    conversation = [SystemMessage("Be brief."), HumanMessage(QUESTION)]
    for choice in ("any", "Look"):
        bound = chat().bind_tools([Look], tool_choice=choice)
        answer = bound.invoke(conversation)
        (call,) = answer.tool_calls
        assert call["name"] == "Look"
        Look.model_validate(call["args"])
        parts = list(bound.stream(conversation))
        total = parts[0]
        for part in parts[1:]:
            total += part
        assert [each["args"] for each in total.tool_calls] == [call["args"]]
    result = ToolMessage("late", tool_call_id=call["id"])
    assert isinstance(chat().bind_tools([Look]).invoke([*conversation, answer, result]), AIMessage)


def offers_tools() -> None:
    """With `auto` there is an answer, with a call or without."""
    answer = chat().bind_tools([Look, Status]).invoke(QUESTION)
    assert answer.content or answer.tool_calls


def answers_at_the_responses_api() -> None:
    """The same text, calls and schema at the newer API."""
    newer = {"use_responses_api": True}
    answer = chat(**newer).invoke(QUESTION)
    assert answer.text == chat().invoke(QUESTION).content
    (call,) = chat(**newer).bind_tools([Look], tool_choice="Look").invoke(QUESTION).tool_calls
    Look.model_validate(call["args"])
    held = chat(**newer).with_structured_output(Status, method="json_schema", strict=True)
    assert isinstance(held.invoke(QUESTION), Status)
    streamed = "".join(part.text for part in chat(**newer).stream(QUESTION))
    assert streamed == answer.text


def makes_vectors() -> None:
    """One for each text; that of a question is the one of a document with its words."""
    vectors = OpenAIEmbeddings(model="ops", max_retries=0, check_embedding_ctx_length=False)
    one, other = vectors.embed_documents(["a b c", "d e"])
    assert len(one) == len(other) > 0
    asked = vectors.embed_query("a b c")
    assert all(abs(a - b) < ROUNDING for a, b in zip(asked, one, strict=True))


TRIED = {
    "text": (
        answers,
        streams,
        tells_probabilities,
        answers_in_batches,
        holds_a_schema,
        holds_a_schema_by_a_call,
        answers_in_json,
        calls_tools,
        offers_tools,
        answers_at_the_responses_api,
    ),
    "embedding": (makes_vectors,),
}

if __name__ == "__main__":
    failures = {}
    for each in TRIED[sys.argv[1]]:
        try:
            each()
        except Exception as error:  # noqa: BLE001 each is reported
            failures[each.__name__] = f"{type(error).__name__}: {error}"
    json.dump(failures, sys.stdout)
