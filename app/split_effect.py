"""What a change of a split would meet: releases that cannot answer, or not at once.

Pure; control refuses what cannot answer again. Imported by the commands and the screens, so that
both say the same before they ask. `storage.splits` words the weights.
"""

from __future__ import annotations

from collections.abc import Mapping

from app import words
from app.snapshot import Readiness

Weights = Mapping[int, int]
"""Basis points by release."""


def refusal(waits: Mapping[int, Readiness], before: Weights, after: Weights) -> str:
    """Why a split would be refused; empty if each arm that gets more can answer or be started."""
    for release in _more(before, after):
        found = waits.get(release)
        if found is not None and found.refused:
            return f"r{release} cannot answer: {found.reason}"
    return ""


def cautions(waits: Mapping[int, Readiness], before: Weights, after: Weights) -> list[str]:
    """What is to be known of the arms that get more and do not answer at once, a sentence each."""
    found = []
    for release in _more(before, after):
        known = waits.get(release)
        if known is None or known.refused:
            continue
        took = known.starts_in_us
        about = "" if took is None else f"; its last start took {words.duration(took)}"
        found.append(f"r{release} does not answer yet: {known.reason}{about}.")
    return found


def _more(before: Weights, after: Weights) -> list[int]:
    return [release for release, points in after.items() if points > before.get(release, 0)]
