"""Jobs for tests: one release that no store knows, and whatever a test wants to ask of it."""

from __future__ import annotations

from typing import Any

from engine.execution.job import Chat, Job, Message, Sampling, Text
from storage import releases
from storage.home import clock
from storage.releases import Engine, Limits, Release


def release(**fields: Any) -> Release:
    """Release r1 of the weights ops-1.0.0."""
    return Release(
        **{
            "number": 1,
            "sha256": "a" * 64,
            "model_version_id": 1,
            "prompt_version_id": None,
            "sampling": releases.Sampling(temperature=0.0),
            "limits": Limits(),
            "engine": Engine(),
            "deployment": "ops-1.0.0",
            "adapter": "",
            "created_at_us": 0,
            "created_by": "t",
            "comment": "",
            **fields,
        }
    )


def job(*prompts: str, **fields: Any) -> Job:
    """A greedy job: texts to continue, or a conversation where `input` says so."""
    return Job(
        **{
            "id": "req_1",
            "at_us": 1,
            "arrived_us": clock.monotonic_us(),
            "endpoint": "test",
            "service": "ops",
            "release": release(),
            "input": Text(prompts or ("one two three",)),
            "sampling": Sampling(0.0, 0, 1.0, 0.0, 1),
            "max_tokens": 5,
            "key_id": 1,
            "tenant": "t",
            "queue_us": 20_000_000,
            **fields,
        }
    )


def chat(*texts: str, **fields: Any) -> Job:
    """A greedy job: user messages."""
    messages = tuple(Message("user", text) for text in texts)
    return job(input=Chat(messages), **fields)
