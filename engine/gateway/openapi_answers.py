"""The answers that the OpenAPI document describes; a test compares them with real ones.

Imported by `engine.gateway.openapi`.
"""

from __future__ import annotations

from typing import Any, Final

Schema = dict[str, Any]

STRING: Final[Schema] = {"type": "string"}
_INTEGER: Final[Schema] = {"type": "integer"}
_TEXT_OR_NULL: Final[Schema] = {"type": ["string", "null"]}


def answers() -> dict[str, Schema]:
    """By name."""
    usage = _object(
        prompt_tokens=_INTEGER,
        completion_tokens=_INTEGER,
        total_tokens=_INTEGER,
        prompt_tokens_details=_object(cached_tokens=_INTEGER),
    )
    logprobs: Schema = {"type": ["object", "null"]}
    common: Schema = {
        "id": STRING,
        "object": STRING,
        "created": _INTEGER,
        "model": STRING,
        "system_fingerprint": STRING,
        "usage": usage,
    }
    function = _object(name=STRING, arguments=STRING)
    message = _object(role=STRING, content=_TEXT_OR_NULL, refusal=_TEXT_OR_NULL)
    message["properties"] |= {  # where there are any
        "reasoning_content": STRING,
        "tool_calls": _list(_object(id=STRING, type=STRING, function=function)),
    }
    ended = {"index": _INTEGER, "logprobs": logprobs, "finish_reason": _TEXT_OR_NULL}
    chat = _object(**common, choices=_list(_object(**ended, message=message)))
    continued = _object(**ended, text=STRING)
    continued["properties"]["prompt_logprobs"] = _list({"type": ["object", "null"]})
    texts = _object(**common, choices=_list(continued))
    response = _response_answer()
    chat["properties"]["prompt_logprobs"] = continued["properties"]["prompt_logprobs"]
    for answer in (chat, texts, response):  # where they are asked for
        answer["properties"]["timings"] = _timings()
    reason = {
        **_object(
            reason=STRING,
            service=STRING,
            release=STRING,
            instance=STRING,
            failed=_INTEGER,
            since_us=_INTEGER,
            error=STRING,
        ),
        "required": ["reason"],
    }
    block = {
        **_object(
            type=STRING,
            text=STRING,
            thinking=STRING,
            signature=STRING,
            id=STRING,
            name=STRING,
            input={"type": "object"},
        ),
        "required": ["type"],
    }
    model = _object(id=STRING, object=STRING, created=_INTEGER, owned_by=STRING)
    return {
        "ChatCompletion": chat,
        "TextCompletion": texts,
        "MessageAnswer": _object(
            id=STRING,
            type=STRING,
            role=STRING,
            model=STRING,
            content=_list(block),
            stop_reason=_TEXT_OR_NULL,
            stop_sequence=_TEXT_OR_NULL,
            usage=_object(
                input_tokens=_INTEGER,
                cache_creation_input_tokens=_INTEGER,
                cache_read_input_tokens=_INTEGER,
                output_tokens=_INTEGER,
            ),
        ),
        "MessageError": _object(
            type=STRING,
            error=_object(type=STRING, message=STRING),
            request_id=_TEXT_OR_NULL,
        ),
        "ResponseAnswer": response,
        "TokensCounted": _object(input_tokens=_INTEGER),
        "TokenizerInfo": _object(
            tokenizer_class=STRING,
            bos_token=_TEXT_OR_NULL,
            eos_token=_TEXT_OR_NULL,
            pad_token=_TEXT_OR_NULL,
            chat_template=STRING,
            model_max_length=_INTEGER,
        ),
        "InputTokens": _object(object=STRING, input_tokens=_INTEGER),
        "Tokenized": {
            **_object(
                count=_INTEGER,
                max_model_len=_INTEGER,
                tokens=_list({"type": ["integer", "object"]}),
                token_strs=_list(STRING),
            ),
            "required": ["count", "max_model_len", "tokens"],
        },
        **_embedded(),
        "Detokenized": _object(prompt=STRING, content=STRING),
        "Templated": _object(prompt=STRING),
        "Model": model,
        "ModelList": _object(object=STRING, data=_list(ref("Model"))),
        "FeedbackGiven": _object(
            object=STRING,
            id=_INTEGER,
            request_id=STRING,
            score=_INTEGER,
            correct={"type": ["boolean", "null"]},
        ),
        "Alive": _object(status=STRING),
        "Readiness": _object(
            status=STRING,
            reasons=_list(reason),
            recorder=_object(trouble=_TEXT_OR_NULL, held=_INTEGER, lost=_INTEGER),
        ),
        "Error": _object(
            error=_object(message=STRING, type=STRING, param=_TEXT_OR_NULL, code=_TEXT_OR_NULL)
        ),
    }


def _timings() -> Schema:
    number: Schema = {"type": "number"}
    parts = ("ms", "per_token_ms", "per_second")
    measured = {f"{of}_{part}": number for of in ("prompt", "predicted") for part in parts}
    return _object(cache_n=_INTEGER, prompt_n=_INTEGER, predicted_n=_INTEGER, **measured)


def _embedded() -> dict[str, Schema]:
    usage = _object(prompt_tokens=_INTEGER, total_tokens=_INTEGER)
    vector: Schema = {"type": ["array", "string"], "items": {"type": "number"}}
    vectors = _object(object=STRING, index=_INTEGER, embedding=vector)
    result = {
        **_object(
            index=_INTEGER,
            relevance_score={"type": "number"},
            score={"type": "number"},
            document=_object(text=STRING),
            text=STRING,
        ),
        "required": ["index"],
    }
    ranked = _object(id=STRING, object=STRING, model=STRING, usage=usage, results=_list(result))
    return {
        "Embedded": _object(object=STRING, data=_list(vectors), model=STRING, usage=usage),
        "Ranked": {"anyOf": [ranked, _list(result)]},
    }


def _response_answer() -> Schema:
    item = {
        **_object(
            id=STRING,
            type=STRING,
            status=STRING,
            role=STRING,
            content=_list({"type": "object"}),
            summary=_list({"type": "object"}),
            call_id=STRING,
            namespace=STRING,
            name=STRING,
            arguments=STRING,
        ),
        "required": ["id", "type", "status"],
    }
    anything: Schema = {"type": ["object", "null"]}
    number_or_null: Schema = {"type": ["integer", "null"]}
    return _object(
        id=STRING,
        object=STRING,
        created_at=_INTEGER,
        status=STRING,
        background={"type": "boolean"},
        error=anything,
        incomplete_details=anything,
        instructions=_TEXT_OR_NULL,
        max_output_tokens=number_or_null,
        metadata={"type": "object"},
        model=STRING,
        output=_list(item),
        parallel_tool_calls={"type": "boolean"},
        previous_response_id=_TEXT_OR_NULL,
        reasoning={"type": "object"},
        store={"type": "boolean"},
        temperature={"type": "number"},
        text={"type": "object"},
        tool_choice={"type": ["string", "object"]},
        tools=_list({"type": "object"}),
        top_p={"type": "number"},
        truncation=STRING,
        usage=_object(
            input_tokens=_INTEGER,
            input_tokens_details={"type": "object"},
            output_tokens=_INTEGER,
            output_tokens_details={"type": "object"},
            total_tokens=_INTEGER,
        ),
        user=_TEXT_OR_NULL,
    )


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def ref(name: str) -> Schema:
    """A reference to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}
