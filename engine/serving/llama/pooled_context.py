"""A context that makes one vector of a sequence's tokens, or one score: embeddings and reranking.

Whole inputs are computed together, each a sequence of its own, and nothing of them is kept: what a
model without causal attention makes of a token depends on all others. Imported by
`engine.serving.embedding`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import llama_cpp
import numpy as np
import numpy.typing as npt

from engine.serving import errors
from engine.serving.llama import context, libllama
from engine.serving.llama.model import Model

POOLINGS: Final = {
    "model": llama_cpp.LLAMA_POOLING_TYPE_UNSPECIFIED,
    "mean": llama_cpp.LLAMA_POOLING_TYPE_MEAN,
    "cls": llama_cpp.LLAMA_POOLING_TYPE_CLS,
    "last": llama_cpp.LLAMA_POOLING_TYPE_LAST,
    "rank": llama_cpp.LLAMA_POOLING_TYPE_RANK,
}
_NAMES: Final = {number: name for name, number in POOLINGS.items()}


class PooledContext:
    """One libllama context. `room` is the most tokens that are computed together.

    `width` counts the values of a vector, `pooling` is one of `POOLINGS`.
    """

    def __init__(
        self, model: Model, *, room: int, sequences: int, threads: int, pooling: str = "model"
    ) -> None:
        """Allocate for `sequences` inputs of `room` tokens together.

        Raises:
            OutOfMemory
            ModelBroken: the model does not pool in this way.
        """
        self._sequences = sequences
        params: Any = llama_cpp.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = room
        params.n_seq_max = sequences
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified = True  # the tokens of a step are all that it has to hold
        params.embeddings = True
        params.pooling_type = POOLINGS[pooling]
        params.no_perf = True
        libllama.forget()
        self.handle: Any = llama_cpp.llama_init_from_model(model.handle, params)
        if not self.handle:
            why = libllama.reason("libllama gave no reason")
            raise errors.OutOfMemory(f"cannot allocate a context for {room} tokens: {why}")
        self._memory: Any = llama_cpp.llama_get_memory(self.handle)
        pooled = llama_cpp.llama_pooling_type(self.handle)
        if pooled not in _NAMES or pooled == POOLINGS["model"]:
            self.free()
            raise errors.ModelBroken(
                "the model does not say how the vectors of tokens are made one; create a release "
                "with --pooling"
            )
        self.pooling = _NAMES[pooled]
        self.ranks = self.pooling == "rank"
        self.width = 1 if self.ranks else int(llama_cpp.llama_model_n_embd_out(model.handle))
        self.room = room
        self._batch = context.Batch(room)

    def compute(self, inputs: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        """The vectors (inputs, width) of at most `sequences` inputs of `room` tokens in all.

        Raises:
            NoKvSlot, Aborted, BadBatch, ComputeFailed
        """
        batch, at = self._batch, 0
        for slot, tokens in enumerate(inputs):
            end = at + len(tokens)
            batch.tokens[at:end] = tokens
            batch.positions[at:end] = np.arange(len(tokens))
            batch.slots[at:end] = slot
            at = end
        batch.wanted[:at] = 1
        batch.struct.n_tokens = at
        libllama.forget()
        if self._memory:
            llama_cpp.llama_memory_clear(self._memory, False)
            code = int(llama_cpp.llama_decode(self.handle, batch.struct))
        else:
            code = int(llama_cpp.llama_encode(self.handle, batch.struct))
        if code != 0:
            raise context.fault(code)
        vectors = np.empty((len(inputs), self.width), np.float32)
        for slot in range(len(inputs)):
            found = llama_cpp.llama_get_embeddings_seq(self.handle, slot)
            if not found:
                raise errors.ComputeFailed("libllama computed no vector for an input")
            vectors[slot] = np.ctypeslib.as_array(found, (self.width,))
        return vectors

    def cleanse(self) -> None:
        """Overwrite the memory, which may hold what is no number; kernels read what they mask."""
        if self._memory:
            llama_cpp.llama_memory_clear(self._memory, True)

    def free(self) -> None:
        """Free the memory; once is enough, twice is harmless."""
        if self.handle:
            llama_cpp.llama_free(self.handle)
        self.handle = None
