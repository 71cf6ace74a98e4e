"""Rollouts that need a person: those that are paused, and those that control has taken back.

A rollout that a person aborted or undid needs no one. One that control aborted is shown for a day,
or until the service's next rollout. Imported by `app.figures.troubles`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from app.figures.facts import SECOND_US, Facts
from app.snapshot import Trouble
from storage.rollouts import State, Why

SHOWN_US: Final = 24 * 3600 * SECOND_US

_BY_CONTROL: Final = {
    Why.HARM: "harm",
    Why.UNLOADABLE: "not loadable",
    Why.LATE: "not loaded in time",
    Why.SMOKE_FAILED: "smoke failed",
}


def rollouts(facts: Facts) -> Iterator[Trouble]:
    """The aborted ones first: there a candidate has failed."""
    for each in facts.rollouts:
        ago_us = facts.now_us - each.moved_at_us
        if each.state is State.ABORTED and each.why in _BY_CONTROL and ago_us < SHOWN_US:
            yield Trouble(
                brief=f"{each.service} r{each.candidate} aborted: {_BY_CONTROL[each.why]}",
                sentence=f"Rollout {each.id} of {each.service} was aborted: {each.sentence} "
                f"`paddock rollouts retry {each.service}` begins it again.",
            )
    for each in facts.rollouts:
        if each.state is State.PAUSED:
            yield Trouble(
                brief=f"{each.service} r{each.candidate} paused",
                sentence=f"Rollout {each.id} of {each.service} is paused: {each.sentence} "
                f"`paddock rollouts promote {each.service}` continues it, `abort` takes it back.",
            )
