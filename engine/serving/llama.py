"""The one room that imports llama_cpp: weights, contexts, batches, KV memory, adapters, vocabulary.

Never decides what a step holds and never draws a token. Every llama_* call of the process is here;
`Any` stands where the binding hands over untyped handles, and stays inside. Imported by the
worker's adapters.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import llama_cpp
import msgspec
import numpy as np
import numpy.typing as npt

from engine.serving import errors

UBATCH: Final = 512
PREFILL_MOST: Final = 8192
_LOG_LEVELS: Final = {3: "warning", 4: "error"}
_CONTROL: Final = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_UNKNOWN
_MEMORY: Final = re.compile(r"alloc|out of memory|mmap failed", re.IGNORECASE)
_MEDIA: Final = re.compile(r"read error|failed to open|input/output error", re.IGNORECASE)
_said: list[str] = []


def _on_log(level: int, text: bytes, _user: object) -> None:
    """Write libllama's warnings and errors to stderr; keep the last few for a reason."""
    name = _LOG_LEVELS.get(level)
    if name is None:
        return
    event = text.decode("utf-8", "replace").strip()
    if not event:
        return
    _said.append(event)
    del _said[:-4]
    line = msgspec.json.encode({"level": name, "event": event, "part": "libllama"})
    sys.stderr.write(line.decode() + "\n")
    sys.stderr.flush()


_log_callback: Final = llama_cpp.llama_log_callback(_on_log)


def _reason(otherwise: str) -> str:
    return " / ".join(_said) or otherwise


def check(what: str, path: Path) -> None:
    """FileAway unless the file can be opened."""
    try:
        if not path.is_file():
            raise errors.FileAway(f"there is no {what} file at {path}")
        with path.open("rb"):
            return
    except OSError as error:
        why = error.strerror or str(error)
        raise errors.FileAway(f"the {what} file at {path} cannot be read: {why}") from error


def _unloaded(path: Path, broken: type[errors.EngineFault]) -> errors.EngineFault:
    """Why a file was not loaded: libllama tells memory and media apart in its words alone."""
    reason = _reason(f"libllama could not load {path}")
    if _MEMORY.search(reason):
        return errors.OutOfMemory(reason)
    return errors.FileAway(reason) if _MEDIA.search(reason) else broken(reason)


def build() -> str:
    """The binding, the llama.cpp beneath it, and what it computes with."""
    system = llama_cpp.llama_print_system_info().decode("utf-8", "replace").strip(" |")
    version = llama_cpp.llama_version().decode("utf-8", "replace")
    return f"llama-cpp-python {llama_cpp.__version__}; llama.cpp {version}; {system}"


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0))


class Model:
    """Weights in memory and their vocabulary."""

    def __init__(
        self, path: Path, *, gpu_layers: int, progress: Callable[[float], bool] | None = None
    ) -> None:
        """Load; `progress` hears fractions and stops the load by returning False."""
        llama_cpp.llama_log_set(_log_callback, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        params: Any = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = gpu_layers

        def report(fraction: float, _user: object) -> bool:
            return progress is None or progress(fraction)

        self._progress = llama_cpp.llama_progress_callback(report)
        params.progress_callback = self._progress
        _said.clear()
        check("model", path)
        self.handle: Any = llama_cpp.llama_model_load_from_file(os.fsencode(path), params)
        if not self.handle:
            raise _unloaded(path, errors.ModelBroken)
        if not llama_cpp.llama_model_has_decoder(self.handle):
            raise errors.ModelBroken(f"{path} has no decoder, so it cannot produce text")
        self.vocabulary = Vocabulary(llama_cpp.llama_model_get_vocab(self.handle))

    @property
    def chat_template(self) -> str:
        """The GGUF's own Jinja source, or empty."""
        raw = llama_cpp.llama_model_chat_template(self.handle, None)
        return raw.decode("utf-8", "replace") if raw else ""

    def adapter(self, path: Path) -> Any:
        """Load a LoRA file onto these weights."""
        _said.clear()
        check("adapter", path)
        handle = llama_cpp.llama_adapter_lora_init(self.handle, os.fsencode(path))
        if not handle:
            raise _unloaded(path, errors.AdapterBroken)
        return handle

    def free(self) -> None:
        """Give the weights back; every context on them must be gone."""
        llama_cpp.llama_model_free(self.handle)
        self.handle = None


class Vocabulary:
    """Text to tokens and tokens to bytes."""

    def __init__(self, handle: Any) -> None:
        """Read what is special in the vocabulary once."""
        self._handle = handle
        self.size = int(llama_cpp.llama_vocab_n_tokens(handle))
        self.bos = int(llama_cpp.llama_vocab_bos(handle))
        self.eos = int(llama_cpp.llama_vocab_eos(handle))
        self.adds_bos = bool(llama_cpp.llama_vocab_get_add_bos(handle)) and self.bos >= 0
        attributes = [llama_cpp.llama_vocab_get_attr(handle, t) for t in range(self.size)]
        special = [t for t, a in enumerate(attributes) if a & _CONTROL]
        self.control_texts = tuple(sorted({self.text(t) for t in special} - {""}))
        normal = llama_cpp.LLAMA_TOKEN_ATTR_NORMAL
        candidates = [t for t, a in enumerate(attributes) if not a & normal]
        self.ends = frozenset(
            t for t in {*candidates, self.eos} if t >= 0 and llama_cpp.llama_vocab_is_eog(handle, t)
        )
        self._pieces: list[bytes | None] = [None] * self.size
        self._buffer = ctypes.create_string_buffer(256)
        get_text = llama_cpp.llama_vocab_get_text
        self.piece_most = max(len(get_text(handle, t) or b"") for t in range(self.size)) or 1

    def text(self, token: int) -> str:
        """How the vocabulary spells a token, or empty."""
        if token < 0:
            return ""
        raw = llama_cpp.llama_vocab_get_text(self._handle, token)
        return raw.decode("utf-8", "replace") if raw else ""

    def piece(self, token: int) -> bytes:
        """The bytes that a token stands for in text; control tokens stand for none."""
        known = self._pieces[token]
        if known is None:
            known = self._pieces[token] = self._render(token, special=False)
        return known

    def raw(self, token: int) -> bytes:
        """The bytes of a token, spelled out even when it is a control token."""
        return self.piece(token) or self._render(token, special=True)

    def _render(self, token: int, *, special: bool) -> bytes:
        buffer = self._buffer
        size = llama_cpp.llama_token_to_piece(self._handle, token, buffer, len(buffer), 0, special)
        if size < 0:
            self._buffer = buffer = ctypes.create_string_buffer(-size)
            size = llama_cpp.llama_token_to_piece(
                self._handle, token, buffer, len(buffer), 0, special
            )
        return bytes(buffer.raw[: max(size, 0)])

    def tokenise(self, segments: Iterable[tuple[str, bool]]) -> list[int]:
        """Tokens of (text, special) pieces, with the one BOS that the model asks for."""
        tokens: list[int] = []
        for text, special in segments:
            tokens += self._cut(text.encode("utf-8", "replace"), special=special)
        if self.adds_bos and tokens[:1] != [self.bos]:
            tokens.insert(0, self.bos)
        return tokens

    def _cut(self, raw: bytes, *, special: bool) -> list[int]:
        if not raw:
            return []
        room = len(raw) + 8
        while True:
            out = (llama_cpp.llama_token * room)()
            count = llama_cpp.llama_tokenize(self._handle, raw, len(raw), out, room, False, special)
            if count >= 0:
                return list(out[:count])
            room = -count


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
    """KV memory and compute buffers for one adapter set, on shared weights."""

    def __init__(
        self,
        model: Model,
        *,
        sequence_tokens: int,
        sequences: int,
        threads: int,
        adapters: Sequence[Any] = (),
    ) -> None:
        """Allocate; each of the `sequences` has `sequence_tokens` of its own (not unified)."""
        self._model = model
        params: Any = llama_cpp.llama_context_default_params()
        params.n_ctx = sequence_tokens * sequences
        params.n_seq_max = sequences
        params.n_batch = min(params.n_ctx, PREFILL_MOST + sequences)
        params.n_ubatch = min(UBATCH, params.n_batch)
        params.n_outputs_max = sequences
        params.n_threads = params.n_threads_batch = threads or cores()
        params.kv_unified = False
        params.no_perf = True
        _said.clear()
        self.handle: Any = llama_cpp.llama_init_from_model(model.handle, params)
        if not self.handle:
            room = f"{sequences} sequences of {sequence_tokens} tokens"
            raise errors.OutOfMemory(f"no context for {room} could be made: {_reason('no reason')}")
        self._memory: Any = llama_cpp.llama_get_memory(self.handle)
        self.room = int(llama_cpp.llama_n_batch(self.handle))
        self.batch = Batch(self.room)
        if adapters:
            count = len(adapters)
            handles = (llama_cpp.llama_adapter_lora_p_ctypes * count)(
                *(ctypes.cast(a, llama_cpp.llama_adapter_lora_p_ctypes) for a in adapters)
            )
            scales = (ctypes.c_float * count)(*([1.0] * count))
            if llama_cpp.llama_set_adapters_lora(self.handle, handles, count, scales) != 0:
                self.free()
                raise errors.AdapterBroken(_reason("libllama could not apply the adapter"))

    def decode(self, tokens: int, wanted: int) -> npt.NDArray[np.float32]:
        """Compute the first `tokens` of the batch; logits (wanted, V), valid until the next."""
        self.batch.struct.n_tokens = tokens
        _said.clear()
        code = int(llama_cpp.llama_decode(self.handle, self.batch.struct))
        if code != 0:
            raise _fault(code)
        if not wanted:
            return np.empty((0, self._model.vocabulary.size), np.float32)
        pointer = llama_cpp.llama_get_logits(self.handle)
        shape = (wanted, self._model.vocabulary.size)
        return np.ctypeslib.as_array(pointer, shape)  # type: ignore[no-any-return, unused-ignore]

    def clear(self, slot: int) -> None:
        """Forget what a slot holds."""
        llama_cpp.llama_memory_seq_rm(self._memory, slot, -1, -1)

    def truncate(self, slot: int, tokens: int) -> None:
        """Keep only the first `tokens` of a slot."""
        llama_cpp.llama_memory_seq_rm(self._memory, slot, tokens, -1)

    def move(self, source: int, target: int) -> None:
        """Carry a slot's memory over an empty one (a full copy: all that this layout allows)."""
        llama_cpp.llama_memory_seq_cp(self._memory, source, target, -1, -1)
        llama_cpp.llama_memory_seq_rm(self._memory, source, -1, -1)

    def warm(self) -> None:
        """Compute one token, so that the first request finds everything in place."""
        self.batch.tokens[0] = max(self._model.vocabulary.bos, 0)
        self.batch.positions[0] = 0
        self.batch.slots[0] = 0
        self.batch.wanted[0] = 1
        self.decode(1, 1)
        self.clear(0)

    def free(self) -> None:
        """Give the memory back."""
        if self.handle:
            llama_cpp.llama_free(self.handle)
        self.handle = None


def _fault(code: int) -> errors.EngineFault:
    """The error for a return code of llama_decode."""
    if code == 1:
        return errors.NoRoom(_reason("no KV slot for the batch"))
    if code > 1:
        return errors.Interrupted(_reason("the step was aborted"))
    if code == -1:
        return errors.BadBatch(_reason("libllama called the batch invalid"))
    return errors.Computing(_reason(f"llama_decode returned {code}"))
