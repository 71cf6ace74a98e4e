"""What was tried of a model version when it was added: can it generate text, and chat, and how.

Kept with the version, shown by `models show`, and held against by releases. Decides nothing.
Imported by `storage.models`.
"""

from __future__ import annotations

import functools
from enum import StrEnum
from typing import Literal

import msgspec

Task = Literal["text", "embedding", "reranking"]


class Template(StrEnum):
    """Where a version's chat template comes from."""

    OWN = "own"
    CHATML = "chatml"


class Chat(msgspec.Struct, frozen=True, kw_only=True):
    """How the chat template took a short conversation.

    `works`: turns of user and assistant could be rendered; `takes_system`: so could one that
    begins with a system message. `reason` says why not, of the first that failed. `shows_tools`:
    the template itself shows tools, and `calls` names the family in whose form calls are read;
    `reasons`: it marks reasoning. The three are None where an earlier Paddock added the version.
    """

    template: Template
    works: bool
    takes_system: bool
    reason: str | None = None
    shows_tools: bool | None = None
    calls: str | None = None
    reasons: bool | None = None


class ModelChecks(msgspec.Struct, frozen=True, kw_only=True):
    """The verdicts; None where a version was added before there was such a check.

    `no_text` is why the model cannot generate text at all, empty when it can. `task` is what the
    file is made for, None where Paddock cannot serve it; `pooling` is how it says that the vectors
    of tokens are made one, and `dimensions` how long that is, None where it does not say.
    """

    no_text: str | None = None
    chat: Chat | None = None
    task: Task | None = None
    pooling: str | None = None
    dimensions: int | None = None

    @property
    def unable_to_chat(self) -> str | None:
        """Why the version cannot answer a chat, None when it can or was never checked."""
        if self.no_text:
            return self.no_text
        if self.chat is not None and not self.chat.works:
            return f"its chat template fails: {self.chat.reason}"
        return None

    @property
    def wanting(self) -> bool:
        """Whether a check found a fault, which a later Paddock may see otherwise."""
        return self.unable_to_chat is not None or (
            self.chat is not None and not self.chat.takes_system
        )


def encode(checks: ModelChecks) -> str:
    """As the store keeps it."""
    return msgspec.json.encode(checks).decode()


@functools.lru_cache(maxsize=256)
def decode(kept: str) -> ModelChecks:
    """From what the store keeps."""
    return msgspec.json.decode(kept, type=ModelChecks)
