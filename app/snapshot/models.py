"""Model versions, in the order of the family tree."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """One model version, in the order of the family tree; `stem` draws its place in it.

    `loaded` are the instances that have proved to have it in memory, `waiting` those that have
    reported nothing yet, `differences` what differs from the registry there, `known` how the hash
    of the weights is known.
    """

    id: int
    name: str
    stem: str
    aliases: tuple[str, ...]
    kind: str
    base: str
    quantisation: str
    size_bytes: int
    status: str
    reason: str
    well: bool  # workers may load it
    path: str
    source: str
    sha256: str
    memory: str
    made_from: str
    loaded: tuple[str, ...]
    waiting: tuple[str, ...]
    differences: tuple[str, ...]
    known: str
    build: str
    services: tuple[str, ...]
