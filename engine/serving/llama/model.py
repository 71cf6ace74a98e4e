"""Weights in memory, on the devices chosen for them, and the adapters loaded onto them.

Imported by the worker.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import llama_cpp

from engine.serving import errors
from engine.serving.llama import devices, libllama
from engine.serving.llama.vocabulary import Vocabulary


class Model:
    """Weights and their vocabulary; `devices` names where they are, ("CPU",) without any."""

    def __init__(
        self,
        path: Path,
        *parts: Path,
        gpu_layers: int,
        on: Sequence[str] | None = None,
        split: str = "layer",
        progress: Callable[[float], bool] | None = None,
        embeds: bool = False,
    ) -> None:
        """Load the file, or with the further `parts` a split model of which it is the first.

        `on` names or numbers devices (None: all of the machine), `split` is one of
        `devices.SPLITS`. `progress` gets fractions and stops the load by returning False. Only a
        model that `embeds` may read with an encoder, and then it has no decoder.

        Raises:
            ModelBroken, FileUnavailable, OutOfMemory, DeviceMissing
        """
        libllama.start()
        there = devices.present()
        chosen = there if on is None else devices.choose(on, there)
        self.devices = tuple(device.name for device in chosen) or ("CPU",)
        params: Any = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = gpu_layers
        params.split_mode = devices.SPLITS[split]
        params.main_gpu = 0
        handles = (ctypes.c_void_p * (len(chosen) + 1))(*(d.handle for d in chosen), None)
        if on is not None:
            params.devices = ctypes.cast(handles, ctypes.c_void_p)

        def report(fraction: float, _user: object) -> bool:
            return progress is None or progress(fraction)

        self._progress = llama_cpp.llama_progress_callback(report)
        params.progress_callback = self._progress
        libllama.forget()
        for each in (path, *parts):
            libllama.check_readable("model", each)
        self.handle: Any = libllama.load((path, *parts), params)
        if not self.handle:
            raise libllama.load_failure(path, errors.ModelBroken)
        encodes = llama_cpp.llama_model_has_encoder(self.handle)
        if encodes and not (embeds and not llama_cpp.llama_model_has_decoder(self.handle)):
            raise errors.ModelBroken(
                f"a {self.architecture} model reads its prompt with an encoder; "
                "only decoder models can be served"
            )
        self.vocabulary = Vocabulary(llama_cpp.llama_model_get_vocab(self.handle))

    @property
    def architecture(self) -> str:
        """The GGUF's general.architecture, such as llama."""
        buffer = ctypes.create_string_buffer(128)
        llama_cpp.llama_model_meta_val_str(
            self.handle, b"general.architecture", buffer, len(buffer)
        )
        return buffer.value.decode("utf-8", "replace")

    @property
    def chat_template(self) -> str:
        """The GGUF's Jinja source, or empty."""
        raw = llama_cpp.llama_model_chat_template(self.handle, None)
        return raw.decode("utf-8", "replace") if raw else ""

    @property
    def rerank_template(self) -> str:
        """How a query and a document are joined, with both in braces; or empty."""
        raw = llama_cpp.llama_model_chat_template(self.handle, b"rerank")
        return raw.decode("utf-8", "replace") if raw else ""

    def load_adapter(self, path: Path) -> Any:
        """Load a LoRA file onto these weights.

        Contexts may compute meanwhile in other threads; adapters and contexts are made and freed
        in one thread only, because libllama keeps the adapters of a model in an unguarded set.

        Raises:
            AdapterBroken, FileUnavailable, OutOfMemory
        """
        libllama.forget()
        libllama.check_readable("adapter", path)
        handle = llama_cpp.llama_adapter_lora_init(self.handle, os.fsencode(path))
        if not handle:
            raise libllama.load_failure(path, errors.AdapterBroken)
        return handle

    def free_adapter(self, adapter: Any) -> None:
        """Free a loaded adapter; every context that uses it must be freed before."""
        llama_cpp.llama_adapter_lora_free(adapter)
