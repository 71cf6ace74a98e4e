"""What can go wrong while tokens are made.

EngineFault
├── ModelBroken       the file of the weights cannot be loaded, here or elsewhere
├── AdapterBroken     the file of the adapter cannot be loaded onto the weights
├── FileAway          a file is not there or cannot be read now
├── OutOfMemory       this box has no memory for it now
├── NoRoom            the KV memory refused the batch; nothing was computed
├── Interrupted       the step was aborted; part of it may stand in the KV memory
├── BadBatch          libllama called the batch invalid; nothing was computed
└── Computing         libllama failed while computing; the context cannot be trusted

Imported by every room of `engine.serving`; imports nothing.
"""

from __future__ import annotations

from typing import Final


class EngineFault(Exception):
    """Something in the engine went wrong; the worker's log has libllama's own words."""


class ModelBroken(EngineFault):
    """The model could not be loaded; register a file that `llama-cli` can open."""


class AdapterBroken(EngineFault):
    """The adapter could not be loaded; check that it was made for this base."""


class FileAway(EngineFault):
    """The file is not there or cannot be read; mount what holds it, it is tried again."""


class OutOfMemory(EngineFault):
    """No memory for it; free some or ask for less context, it is tried again."""


BROKEN: Final = (ModelBroken, AdapterBroken)
"""Faults of the file itself: trying it again changes nothing. All others are of time and place."""


class NoRoom(EngineFault):
    """No KV slot for the batch; try again with fewer tokens."""


class Interrupted(EngineFault):
    """The step was aborted; compute its sequences anew."""


class BadBatch(EngineFault):
    """The batch was invalid; refuse its sequences and go on."""


class Computing(EngineFault):
    """The computation failed; leave the process, a new worker takes over."""
