"""KV memory and compute buffers for one set of adapters, and the batch that a step fills.

Imported by `engine.serving.adapters` and by what fills the batch.
"""

from __future__ import annotations

import ctypes
from collections.abc import Collection, Sequence
from typing import Any, Final

import llama_cpp
import numpy as np
import numpy.typing as npt

from engine.serving import errors, sampling
from engine.serving.llama import libllama
from engine.serving.llama.model import Model
from engine.serving.llama.top_k import TopK

UBATCH: Final = 512
PREFILL_MOST: Final = 8192
KV_CACHE_TYPES: Final = {
    "f16": llama_cpp.GGML_TYPE_F16,
    "q8_0": llama_cpp.GGML_TYPE_Q8_0,
    "q4_0": llama_cpp.GGML_TYPE_Q4_0,
}
SCORED_MOST: Final = 32
"""Positions of a step whose logits may be wanted beyond one per sequence (a float per token of the
vocabulary each)."""


class Batch:
    """The arrays of a llama_batch as NumPy views that are filled in place."""

    def __init__(self, room: int) -> None:
        """Make place for `room` tokens."""
        self.room = room
        self.tokens = np.zeros(room, np.int32)
        self.positions = np.zeros(room, np.int32)
        self.slots = np.zeros(room, np.int32)
        self.wanted = np.zeros(room, np.int8)
        self._ones = np.ones(room, np.int32)
        self._pointers = (self.slots.ctypes.data + 4 * np.arange(room)).astype(np.uint64)
        self.struct: Any = llama_cpp.llama_batch()
        for name, array, kind in (
            ("token", self.tokens, ctypes.c_int32),
            ("pos", self.positions, ctypes.c_int32),
            ("n_seq_id", self._ones, ctypes.c_int32),
            ("seq_id", self._pointers, ctypes.POINTER(ctypes.c_int32)),
            ("logits", self.wanted, ctypes.c_int8),
        ):
            setattr(self.struct, name, array.ctypes.data_as(ctypes.POINTER(kind)))
        self.struct.embd = None


class Context:
    """One libllama context. `room` is the most tokens of a step, `outputs` the most logits rows."""

    def __init__(
        self,
        model: Model,
        *,
        sequence_tokens: int,
        sequences: int,
        threads: int,
        kv_cache_type: str = "f16",
        adapters: Sequence[Any] = (),
        unified: bool = False,
    ) -> None:
        """Allocate; each of the `sequences` has its own `sequence_tokens`, or all share a buffer.

        Unified, every sequence attends over the whole buffer, which is slower.

        `kv_cache_type` is one of `KV_CACHE_TYPES`; for the quantised ones libllama turns flash
        attention on.

        Raises:
            OutOfMemory, AdapterBroken
            ModelBroken: the model cannot generate text.
        """
        self._model = model
        self._slots = range(sequences)
        params: Any = llama_cpp.llama_context_default_params()
        params.n_ctx = sequence_tokens * sequences
        params.n_seq_max = sequences
        params.n_batch = min(params.n_ctx, PREFILL_MOST + sequences)
        params.n_ubatch = min(UBATCH, params.n_batch)
        params.n_outputs_max = self.outputs = sequences + SCORED_MOST
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified = self._unified = unified
        params.type_k = params.type_v = KV_CACHE_TYPES[kv_cache_type]
        params.no_perf = True
        libllama.forget()
        self.handle: Any = llama_cpp.llama_init_from_model(model.handle, params)
        if not self.handle:
            size = f"{sequences} sequences of {sequence_tokens} tokens"
            why = libllama.reason("libllama gave no reason")
            raise errors.OutOfMemory(f"cannot allocate a context for {size}: {why}")
        self._memory: Any = llama_cpp.llama_get_memory(self.handle)
        if not self._memory:
            self.free()
            raise errors.ModelBroken(
                f"a {model.architecture} model cannot generate text (it has no KV memory); "
                "it may serve embeddings"
            )
        self.cuts = self._can_cut()
        self.room = int(llama_cpp.llama_n_batch(self.handle))
        self.batch = Batch(self.room)
        self.top_k = TopK(self.handle, sequences, model.vocabulary.size)
        self._logits_at = (0, 0)
        self._logits = np.empty((0, model.vocabulary.size), np.float32)
        if adapters:
            count = len(adapters)
            handles = (llama_cpp.llama_adapter_lora_p_ctypes * count)(
                *(ctypes.cast(a, llama_cpp.llama_adapter_lora_p_ctypes) for a in adapters)
            )
            scales = (ctypes.c_float * count)(*([1.0] * count))
            if llama_cpp.llama_set_adapters_lora(self.handle, handles, count, scales) != 0:
                self.free()
                raise errors.AdapterBroken(libllama.reason("libllama could not apply the adapter"))

    def decode(self, tokens: int, outputs: int) -> npt.NDArray[np.float32]:
        """Compute the first `tokens` of the batch; logits (outputs, V), valid until the next call.

        There are none while `top_k` is attached.

        Raises:
            NoKvSlot, Aborted, BadBatch, ComputeFailed
        """
        self._compute(tokens)
        if not outputs:
            return np.empty((0, self._model.vocabulary.size), np.float32)
        pointer = llama_cpp.llama_get_logits(self.handle)
        where = (ctypes.addressof(pointer.contents), outputs)
        if where != self._logits_at:  # making a view takes longer than drawing a token from it
            self._logits_at = where
            self._logits = np.ctypeslib.as_array(pointer, (outputs, self._model.vocabulary.size))
        return self._logits

    def decode_best(self, tokens: int, outputs: int) -> sampling.Best:
        """The same while `top_k` is attached: only the largest logits of each output."""
        self._compute(tokens)
        return self.top_k.read(outputs)

    def _compute(self, tokens: int) -> None:
        self.batch.struct.n_tokens = tokens
        libllama.forget()
        code = int(llama_cpp.llama_decode(self.handle, self.batch.struct))
        if code != 0:
            raise fault(code)

    def clear(self, slot: int) -> None:
        """Remove everything from a slot."""
        llama_cpp.llama_memory_seq_rm(self._memory, slot, -1, -1)

    def cleanse(self, slots: Collection[int]) -> None:
        """Overwrite what may not be numbers in the memory of slots, which are empty afterwards.

        Kernels multiply what lies behind a sequence by zero instead of leaving it out, so that a
        NaN there would reach the next sequence of the slot. The memory of another slot, whatever it
        holds, replaces it.
        """
        clean = next((slot for slot in self._slots if slot not in slots), None)
        if clean is None:
            llama_cpp.llama_memory_clear(self._memory, True)  # the data, too
            return
        for slot in slots:
            llama_cpp.llama_memory_seq_cp(self._memory, clean, slot, -1, -1)
            self.clear(slot)

    def move(self, source: int, target: int, tokens: int = -1, keeps: bool = False) -> None:
        """Make `target` hold the first `tokens` of `source` (-1: all), as `slots.Move` says.

        Without a unified buffer a sequence is copied whole, which is all that libllama allows, and
        then cut.
        """
        if source < 0:
            self.clear(target)
            return
        if source != target:
            end = tokens if self._unified else -1
            llama_cpp.llama_memory_seq_cp(self._memory, source, target, -1, end)
            if not keeps:
                self.clear(source)
        if tokens >= 0:
            llama_cpp.llama_memory_seq_rm(self._memory, target, tokens, -1)

    def _can_cut(self) -> bool:
        """Whether the memory of a sequence can be cut at any token.

        A recurrent state cannot, nor can the keys and values of a sliding window, unless they are
        all kept. libllama moves positions under the same conditions, and a few more.
        """
        model = self._model.handle
        return (
            bool(llama_cpp.llama_memory_can_shift(self._memory))
            and not llama_cpp.llama_model_is_recurrent(model)
            and not llama_cpp.llama_model_is_hybrid(model)
        )

    def compute(self, tokens: Sequence[int], start: int) -> npt.NDArray[np.float32]:
        """The logits (tokens, V) of the next tokens of a sequence in slot 0; at most `outputs`.

        Raises:
            NoKvSlot, Aborted, BadBatch, ComputeFailed
        """
        count = len(tokens)
        self.batch.tokens[:count] = tokens
        self.batch.positions[:count] = np.arange(start, start + count)
        self.batch.slots[:count] = 0
        self.batch.wanted[:count] = 1
        return self.decode(count, count)

    def free(self) -> None:
        """Free the memory; once is enough, twice is harmless."""
        if self.handle:
            llama_cpp.llama_free(self.handle)
        self.handle = None


def fault(code: int) -> errors.EngineFault:
    """The error for a return code of llama_decode."""
    if code == 1:
        return errors.NoKvSlot(libllama.reason("no KV slot for the batch"))
    if code > 1:
        return errors.Aborted(libllama.reason("the step was aborted"))
    if code == -1:
        return errors.BadBatch(libllama.reason("libllama called the batch invalid"))
    return errors.ComputeFailed(libllama.reason(f"llama_decode returned {code}"))
