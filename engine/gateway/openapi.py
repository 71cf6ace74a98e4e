"""GET /openapi.json: the requests, answers, errors and authentication of each path.

Request bodies come from the structs that decode them; answers are described in
`openapi_answers`, errors here. Imported by the routes.
"""

from __future__ import annotations

from typing import Final

import msgspec

from engine.gateway import (
    anthropic_bodies,
    embedding_bodies,
    embeddings,
    openapi_answers,
    request_bodies,
    responses_bodies,
    service_paths,
    token_bodies,
)
from engine.gateway.openapi_answers import Schema

_JSON: Final = "application/json"
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
            embedding_bodies.Embeddings,
            embedding_bodies.Rerank,
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
        "paths": (paths := _paths()) | _below_services(paths),
        "components": {
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key, `pk-…`; `paddock keys create` makes one.",
                }
            },
            "schemas": {**decoded, **openapi_answers.answers()},
        },
    }


def _paths() -> Schema:
    completing = ("400", "401", "403", "404", "408", "413", "415", "429", "500", "503")
    headers = [_header(*each) for each in (
        ("x-paddock-class", "interactive (default), batch or background: the scheduling priority."),
        ("x-paddock-session", "Keeps a caller on one release where the body names no user."),
        ("x-paddock-release", "The release that answers, such as r14; for operators."),
    )]  # fmt: skip
    told = ("400", "401", "403", "404", "500", "503")
    model = {
        "name": "model",
        "in": "query",
        "description": "The service.",
        "schema": openapi_answers.STRING,
    }
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
        "/v1/embeddings": {
            "post": {
                **_operation("The vectors of inputs", completing, "Embedded"),
                "parameters": headers,
                "requestBody": _body("Embeddings"),
            }
        },
        **{
            path: {
                "post": {
                    **_operation("How relevant documents are to a query", completing, "Ranked"),
                    "parameters": headers,
                    "requestBody": _body("Rerank"),
                }
            }
            for path in embeddings.RERANK_PATHS
        },
        "/v1/chat/completions/input_tokens": {
            "post": {
                **_operation("Count the tokens of a conversation", completing, "InputTokens"),
                "parameters": headers,
                "requestBody": _body("Chat"),
            }
        },
        "/v1/responses/input_tokens": {
            "post": {
                **_operation("Count the tokens of an input", completing, "InputTokens"),
                "parameters": headers,
                "requestBody": _body("Response"),
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
        "/tokenizer_info": {
            "get": {
                **_operation("The special tokens of a model", told, "TokenizerInfo"),
                "parameters": [model],
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
                "parameters": [
                    {
                        "name": "name",
                        "in": "path",
                        "required": True,
                        "schema": openapi_answers.STRING,
                    }
                ],
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
                        "schema": openapi_answers.STRING,
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
                        "content": {"text/plain": {"schema": openapi_answers.STRING}},
                    },
                    **{status: _content(_ERRORS[status], "Error") for status in ("401", "403")},
                },
            }
        },
    }


def _below_services(paths: Schema) -> Schema:
    """Some of them again, below the name of a service that the body need not name then."""
    service = {"name": "service", "in": "path", "required": True, "schema": openapi_answers.STRING}
    return {
        f"{service_paths.PREFIX}{path}": {
            method: {**operation, "parameters": [service, *operation["parameters"]]}
            for method, operation in paths[path].items()
        }
        for path in service_paths.PATHS
    }


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
        ok["content"]["text/event-stream"] = {"schema": openapi_answers.STRING}
    return {"200": ok, **{status: _content(_ERRORS[status], error) for status in errors}}


def _content(description: str, schema: str) -> Schema:
    return {"description": description, "content": {_JSON: {"schema": openapi_answers.ref(schema)}}}


def _body(schema: str) -> Schema:
    return {"required": True, "content": {_JSON: {"schema": openapi_answers.ref(schema)}}}


def _header(name: str, description: str) -> Schema:
    return {
        "name": name,
        "in": "header",
        "description": description,
        "schema": openapi_answers.STRING,
    }


def _open() -> Schema:
    return {"security": []}
