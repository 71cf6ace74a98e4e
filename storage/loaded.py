"""What an instance reports to have in memory, and how that differs from what is registered.

An instance names its weights by SHA-256. It hashed them itself, or it mapped the file that was
verified before: the same size, modification time and inode. Adapters are always hashed. Pure.
Imported by `storage.processes`, `engine.node` and `app`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

import msgspec

from storage.models import ModelVersion

_DIGITS = 16


class How(StrEnum):
    """How an instance knows the hash of its weights."""

    HASHED = "hashed"  # it read the whole file
    BOUND = "bound"  # size, modification time and inode are those of the verified file


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """What is in memory.

    `weights` and `template` are SHA-256 in hex, of the file and of the chat template as the library
    returns it; `template` is empty where the model has none. `adapters` has the SHA-256 of each
    adapter by its name in the worker. `missing` is the path of the weights if the file was removed
    since: what is in memory serves, and cannot be started again.
    """

    weights: str
    how: How
    template: str = ""
    adapters: Mapping[str, str] = {}
    missing: str = ""


def differences(
    loaded: Loaded, weights: ModelVersion, adapters: Iterable[ModelVersion]
) -> list[str]:
    """How memory differs from the registry, as sentences; empty where they agree.

    `adapters` are the versions that may be on these weights; one that is not loaded is no
    difference, one that is loaded and unknown is.
    """
    found = []
    if loaded.missing:
        found.append(f"its file is gone: {loaded.missing}; put it back, or the next start fails")
    if loaded.weights != weights.sha256:
        found.append(
            f"the weights in memory are {loaded.weights[:_DIGITS]}…, "
            f"{weights.name} is {weights.sha256[:_DIGITS]}…"
        )
    if weights.template_sha256 is not None and loaded.template != weights.template_sha256:
        found.append(
            f"the chat template in memory is {_short(loaded.template)}, "
            f"that of {weights.name} is {_short(weights.template_sha256)}"
        )
    known = {each.sha256 for each in adapters}
    found += [
        f"the adapter {sha256[:_DIGITS]}… in memory is not registered on {weights.name}"
        for sha256 in loaded.adapters.values()
        if sha256 not in known
    ]
    return found


def _short(sha256: str) -> str:
    return f"{sha256[:_DIGITS]}…" if sha256 else "none"
