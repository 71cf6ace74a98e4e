"""What can go wrong in the engine.

EngineFault
├── ModelBroken       the weights cannot be loaded or cannot generate text, here or elsewhere
├── AdapterBroken     the adapter cannot be loaded onto the weights
├── FileUnavailable   a file does not exist or cannot be read now
├── OutOfMemory       this machine has not enough memory now
├── DeviceMissing     a device that the release names is not on this machine
├── NoKvSlot          the KV memory refused the batch; nothing was computed
├── Aborted           the step was aborted; part of it may be in the KV memory
├── BadBatch          libllama called the batch invalid; nothing was computed
├── FilterMissing     the device cannot find the largest logits; the step's logits are lost
└── ComputeFailed     libllama failed while computing; the context cannot be trusted

Imported by all of `engine.serving`; imports the standard library.
"""

from __future__ import annotations

from typing import Final


class EngineFault(Exception):
    """Something in the engine failed; the worker's log has libllama's own messages."""


class ModelBroken(EngineFault):
    """The model cannot be served; register a file that `llama-cli` can run."""


class AdapterBroken(EngineFault):
    """The adapter could not be loaded; check that it was made for this base."""


class FileUnavailable(EngineFault):
    """The file cannot be read; mount its file system, loading is retried."""


class OutOfMemory(EngineFault):
    """Not enough memory; free some or lower the context size, loading is retried."""


class DeviceMissing(EngineFault):
    """The device does not exist; correct the release's `devices`."""


BROKEN: Final = (ModelBroken, AdapterBroken)
"""Faults of the file itself: retrying changes nothing. All others depend on time and place."""


class NoKvSlot(EngineFault):
    """No KV slot for the batch; retry with fewer tokens."""


class Aborted(EngineFault):
    """The step was aborted; compute its sequences again."""


class BadBatch(EngineFault):
    """The batch was invalid; refuse its sequences."""


class FilterMissing(EngineFault):
    """The device cannot filter logits; set the knob `backend_sampling` to 1 or 0."""


class ComputeFailed(EngineFault):
    """The computation failed; end the process, its successor takes over."""
