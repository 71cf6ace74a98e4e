"""The fields of a request body that say how tokens are sampled, under the names of all servers.

OpenAI's, vLLM's and llama.cpp's names for one setting become one. Imported by `request_bodies`.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from engine.gateway import errors

BIASES_LIMIT: Final = 1024
_REPEAT_LAST_N: Final = 64
"""What llama.cpp takes where only `repeat_penalty` is given."""

_Share = Annotated[float, Meta(ge=0, le=1)]
_Penalty = Annotated[float, Meta(ge=-2, le=2)]
_Factor = Annotated[float, Meta(ge=0.01, le=10)]
"""A smaller one would make logits infinite: the model's fault, as far as a worker can tell."""
_Biases = Annotated[
    dict[Annotated[int, Meta(ge=0, le=2**31 - 1)], Annotated[float, Meta(ge=-100, le=100)]],
    Meta(max_length=BIASES_LIMIT),
]


class Sampled(msgspec.Struct, kw_only=True):
    """How tokens are sampled. Absent and null mean the release's own setting."""

    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: _Share | None = None
    top_k: Annotated[int, Meta(ge=-1, le=1_000_000)] | None = None
    min_p: _Share | None = None
    min_tokens: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    ignore_eos: bool | None = None
    frequency_penalty: _Penalty | None = None
    presence_penalty: _Penalty | None = None
    repetition_penalty: _Factor | None = None
    repeat_penalty: _Factor | None = None
    repeat_last_n: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    logit_bias: _Biases | None = None

    def sampled(self) -> dict[str, Any]:
        """The same as `job.Options` has it, by name.

        Raises:
            BadRequest: two fields contradict each other.
        """
        repetition, window = self._repetition()
        return {
            "temperature": self.temperature,
            "top_k": None if self.top_k is None else max(0, self.top_k),
            "top_p": self.top_p,
            "min_p": self.min_p,
            "seed": self.seed,
            "repetition_penalty": repetition,
            "frequency_penalty": self.frequency_penalty,
            "presence_penalty": self.presence_penalty,
            "repeat_last_n": window,
            "min_tokens": self.min_tokens,
            "ignore_eos": bool(self.ignore_eos),
            "logit_bias": tuple((self.logit_bias or {}).items()),
        }

    def _repetition(self) -> tuple[float | None, int | None]:
        """The repetition penalty under either name, and its window."""
        if self.repeat_penalty is None:
            return self.repetition_penalty, self.repeat_last_n
        if self.repetition_penalty not in (None, self.repeat_penalty):
            raise errors.BadRequest(
                "repeat_penalty and repetition_penalty are one setting; send one of them.",
                code="invalid_value",
                param="repeat_penalty",
            )
        window = _REPEAT_LAST_N if self.repeat_last_n is None else self.repeat_last_n
        return self.repeat_penalty, window


def check_biases(raw: msgspec.Raw) -> None:
    """Refuse too many before they are decoded."""
    if bytes(raw).count(b":") > BIASES_LIMIT:
        raise errors.BadRequest(
            f"logit_bias holds more than {BIASES_LIMIT} tokens.",
            code="invalid_value",
            param="logit_bias",
        )
