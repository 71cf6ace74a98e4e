"""GET /openapi.json: the requests, answers, errors and authentication of each path.

Request bodies come from the structs that decode them; answers and errors are described here, and a
test compares them with real ones. Imported by the routes.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from engine.gateway import anthropic_bodies, request_bodies, responses_bodies, token_bodies

Schema = dict[str, Any]

_JSON: Final = "application/json"
_STRING: Final[Schema] = {"type": "string"}
_INTEGER: Final[Schema] = {"type": "integer"}
_TEXT_OR_NULL: Final[Schema] = {"type": ["string", "null"]}
_ERRORS: Final = {
    "400": "The request cannot be served as it is; sending it again does not help.",
    "401": "There is no API key, or it is unknown or revoked.",
    "403": "The key's role does not allow this.",
    "404": "The request names something that does not exist.",
    "408": "The body did not arrive in time.",
    "413": "The body exceeds the configured limit.",
    "415": "The body is compressed.",
    "429": "The queue is full, or too much is sent at once; Retry-After says when to try again.",
    "500": "Something in the gateway is faulty; an operator has to look.",
    "503": "Nothing can answer now, or not in time; try again.",
}


def document() -> Schema:
    """The OpenAPI 3.1 document."""
    _, decoded = msgspec.json.schema_components(
        (
            request_bodies.Chat,
            request_bodies.Completion,
            request_bodies.Feedback,
            anthropic_bodies.Message,
            anthropic_bodies.TokenCount,
            responses_bodies.Response,
            token_bodies.Tokenize,
            token_bodies.Detokenize,
        ),
        ref_template="#/components/schemas/{name}",
    )
    return {
        "openapi": "3.1.0",
        "info": {"title": "Paddock", "version": "1"},
        "security": [{"key": []}],
        "paths": _paths(),
        "components": {
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key, `pk-…`; `paddock keys create` makes one.",
                }
            },
            "schemas": {**decoded, **_answers()},
        },
    }


def _paths() -> Schema:
    completing = ("400", "401", "403", "404", "408", "413", "415", "429", "500", "503")
    headers = [_header(*each) for each in (
        ("x-paddock-class", "interactive (default), batch or background: the scheduling priority."),
        ("x-paddock-session", "Keeps a caller on one release where the body names no user."),
        ("x-paddock-release", "The release that answers, such as r14; for operators."),
    )]  # fmt: skip
    return {
        "/v1/chat/completions": {
            "post": {
                **_operation("Answer a conversation, whole or as events", completing),
                "parameters": headers,
                "requestBody": _body("Chat"),
                "responses": _responses("ChatCompletion", completing, stream=True),
            }
        },
        "/v1/completions": {
            "post": {
                **_operation("Continue texts, whole or as events", completing),
                "parameters": headers,
                "requestBody": _body("Completion"),
                "responses": _responses("TextCompletion", completing, stream=True),
            }
        },
        "/v1/messages": {
            "post": {
                **_operation("Answer a conversation as Anthropic's API does", completing),
                "parameters": headers,
                "requestBody": _body("Message"),
                "responses": _responses(
                    "MessageAnswer", completing, stream=True, error="MessageError"
                ),
            }
        },
        "/v1/messages/count_tokens": {
            "post": {
                **_operation("Count the tokens of a conversation", completing),
                "parameters": headers,
                "requestBody": _body("TokenCount"),
                "responses": _responses("TokensCounted", completing, error="MessageError"),
            }
        },
        "/v1/responses": {
            "post": {
                **_operation("Answer a conversation as OpenAI's newer API does", completing),
                "parameters": headers,
                "requestBody": _body("Response"),
                "responses": _responses("ResponseAnswer", completing, stream=True),
            }
        },
        "/tokenize": {
            "post": {
                **_operation("The tokens of a text or a conversation", completing, "Tokenized"),
                "parameters": headers,
                "requestBody": _body("Tokenize"),
            }
        },
        "/detokenize": {
            "post": {
                **_operation("The text of tokens", completing, "Detokenized"),
                "parameters": headers,
                "requestBody": _body("Detokenize"),
            }
        },
        "/apply-template": {
            "post": {
                **_operation("The text that a conversation becomes", completing, "Templated"),
                "parameters": headers,
                "requestBody": _body("Chat"),
            }
        },
        "/v1/models": {"get": _operation("The services", ("401", "500"), "ModelList")},
        "/v1/models/{name}": {
            "get": {
                **_operation("One service", ("401", "404", "500"), "Model"),
                "parameters": [{"name": "name", "in": "path", "required": True, "schema": _STRING}],
            }
        },
        "/v1/feedback": {
            "post": {
                **_operation(
                    "Rate an answer",
                    ("400", "401", "404", "408", "413", "415", "429", "500", "503"),
                    "FeedbackGiven",
                ),
                "requestBody": _body("Feedback"),
            }
        },
        "/healthz": {"get": {**_operation("Whether the gateway lives", (), "Alive"), **_open()}},
        "/readyz": {
            "get": {
                **_operation("Whether the services can answer", ("404",), "Readiness"),
                **_open(),
                "parameters": [
                    {
                        "name": "service",
                        "in": "query",
                        "description": "Only this one.",
                        "schema": _STRING,
                    }
                ],
                "responses": {
                    "200": _content("Every service has a release that can answer.", "Readiness"),
                    "503": _content("A service has none.", "Readiness"),
                    "404": _content(_ERRORS["404"], "Error"),
                },
            }
        },
        "/metrics": {
            "get": {
                **_operation("For Prometheus; for viewers unless it is open", ("401", "403")),
                "responses": {
                    "200": {
                        "description": "The exposition.",
                        "content": {"text/plain": {"schema": _STRING}},
                    },
                    **{status: _content(_ERRORS[status], "Error") for status in ("401", "403")},
                },
            }
        },
    }


def _answers() -> dict[str, Schema]:
    usage = _object(
        prompt_tokens=_INTEGER,
        completion_tokens=_INTEGER,
        total_tokens=_INTEGER,
        prompt_tokens_details=_object(cached_tokens=_INTEGER),
    )
    logprobs: Schema = {"type": ["object", "null"]}
    common: Schema = {
        "id": _STRING,
        "object": _STRING,
        "created": _INTEGER,
        "model": _STRING,
        "system_fingerprint": _STRING,
        "usage": usage,
    }
    function = _object(name=_STRING, arguments=_STRING)
    message = _object(role=_STRING, content=_TEXT_OR_NULL, refusal=_TEXT_OR_NULL)
    message["properties"] |= {  # where there are any
        "reasoning_content": _STRING,
        "tool_calls": _list(_object(id=_STRING, type=_STRING, function=function)),
    }
    ended = {"index": _INTEGER, "logprobs": logprobs, "finish_reason": _TEXT_OR_NULL}
    reason = {
        **_object(
            reason=_STRING,
            service=_STRING,
            release=_STRING,
            instance=_STRING,
            failed=_INTEGER,
            since_us=_INTEGER,
            error=_STRING,
        ),
        "required": ["reason"],
    }
    block = {
        **_object(
            type=_STRING,
            text=_STRING,
            thinking=_STRING,
            signature=_STRING,
            id=_STRING,
            name=_STRING,
            input={"type": "object"},
        ),
        "required": ["type"],
    }
    model = _object(id=_STRING, object=_STRING, created=_INTEGER, owned_by=_STRING)
    return {
        "ChatCompletion": _object(**common, choices=_list(_object(**ended, message=message))),
        "TextCompletion": _object(**common, choices=_list(_object(**ended, text=_STRING))),
        "MessageAnswer": _object(
            id=_STRING,
            type=_STRING,
            role=_STRING,
            model=_STRING,
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
            type=_STRING,
            error=_object(type=_STRING, message=_STRING),
            request_id=_TEXT_OR_NULL,
        ),
        "ResponseAnswer": _response_answer(),
        "TokensCounted": _object(input_tokens=_INTEGER),
        "Tokenized": {
            **_object(
                count=_INTEGER,
                max_model_len=_INTEGER,
                tokens=_list({"type": ["integer", "object"]}),
                token_strs=_list(_STRING),
            ),
            "required": ["count", "max_model_len", "tokens"],
        },
        "Detokenized": _object(prompt=_STRING, content=_STRING),
        "Templated": _object(prompt=_STRING),
        "Model": model,
        "ModelList": _object(object=_STRING, data=_list(_ref("Model"))),
        "FeedbackGiven": _object(
            object=_STRING,
            id=_INTEGER,
            request_id=_STRING,
            score=_INTEGER,
            correct={"type": ["boolean", "null"]},
        ),
        "Alive": _object(status=_STRING),
        "Readiness": _object(
            status=_STRING,
            reasons=_list(reason),
            recorder=_object(trouble=_TEXT_OR_NULL, held=_INTEGER, lost=_INTEGER),
        ),
        "Error": _object(
            error=_object(message=_STRING, type=_STRING, param=_TEXT_OR_NULL, code=_TEXT_OR_NULL)
        ),
    }


def _response_answer() -> Schema:
    item = {
        **_object(
            id=_STRING,
            type=_STRING,
            status=_STRING,
            role=_STRING,
            content=_list({"type": "object"}),
            summary=_list({"type": "object"}),
            call_id=_STRING,
            name=_STRING,
            arguments=_STRING,
        ),
        "required": ["id", "type", "status"],
    }
    anything: Schema = {"type": ["object", "null"]}
    number_or_null: Schema = {"type": ["integer", "null"]}
    return _object(
        id=_STRING,
        object=_STRING,
        created_at=_INTEGER,
        status=_STRING,
        background={"type": "boolean"},
        error=anything,
        incomplete_details=anything,
        instructions=_TEXT_OR_NULL,
        max_output_tokens=number_or_null,
        metadata={"type": "object"},
        model=_STRING,
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
        truncation=_STRING,
        usage=_object(
            input_tokens=_INTEGER,
            input_tokens_details={"type": "object"},
            output_tokens=_INTEGER,
            output_tokens_details={"type": "object"},
            total_tokens=_INTEGER,
        ),
        user=_TEXT_OR_NULL,
    )


def _operation(summary: str, errors: tuple[str, ...], answer: str = "") -> Schema:
    operation: Schema = {"summary": summary}
    if answer:
        operation["responses"] = _responses(answer, errors)
    return operation


def _responses(
    answer: str, errors: tuple[str, ...], *, stream: bool = False, error: str = "Error"
) -> Schema:
    ok = _content("The answer.", answer)
    if stream:
        ok["content"]["text/event-stream"] = {"schema": _STRING}
    return {"200": ok, **{status: _content(_ERRORS[status], error) for status in errors}}


def _content(description: str, schema: str) -> Schema:
    return {"description": description, "content": {_JSON: {"schema": _ref(schema)}}}


def _body(schema: str) -> Schema:
    return {"required": True, "content": {_JSON: {"schema": _ref(schema)}}}


def _header(name: str, description: str) -> Schema:
    return {"name": name, "in": "header", "description": description, "schema": _STRING}


def _open() -> Schema:
    return {"security": []}


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}
