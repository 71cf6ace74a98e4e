"""What is wrong with the traffic: requests that are rejected, that fail, and that wait too long.

Pure, from what was measured in the last seconds. Imported by `app.figures.troubles`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from app import words
from app.figures import deployments, load
from app.figures.facts import SECOND_US, Facts
from app.snapshot import Trouble
from storage import measures, rejections, tallies

WAIT_US: Final = 10 * SECOND_US  # a request that waits this long for its first token is too late
HELD_US: Final = 2 * SECOND_US  # in the gateway, while nothing can take it
ERRORS_S: Final = 30  # the window in which failures are counted
ERRORS: Final = 0.05  # an error rate that is certainly higher is trouble
FAILED: Final = 3  # fewer failures prove nothing
JUST_S: Final = 5  # while no client was answered for so long, it is not one client's key


def rejected(facts: Facts) -> Iterator[Trouble]:
    """Requests that reach no arm, because of their key or of what they ask for."""
    if not facts.node.runs:
        return
    begin = facts.end - ERRORS_S
    found = rejections.by_code(
        row for at, row in facts.recent.gateway.items() if begin < at <= facts.end
    )
    answered = _all_arms(facts, ERRORS_S)
    whole = answered.ok + answered.failed + found.total()
    keyless = sum(found.pop(code, 0) for code in rejections.UNAUTHENTICATED)
    of = f"of {words.counted(whole, 'request')} in the last {ERRORS_S} s"
    if _certain(keyless, whole):
        yield Trouble(
            brief=f"{keyless} without a valid key",
            sentence=f"{keyless} {of} had no valid key; `paddock keys list` shows the keys.",
            unanswered=not _all_arms(facts, JUST_S).ok,
        )
    for code, count in found.most_common():
        if _certain(count, whole):
            yield Trouble(brief=f"{count} {code}", sentence=f"{count} {of} were rejected: {code}.")


def _all_arms(facts: Facts, seconds: int) -> tallies.Tally:
    begin = facts.end - seconds
    return tallies.total(
        each
        for rows in facts.recent.arms.values()
        for at, each in rows.items()
        if begin < at <= facts.end
    )


def arms(facts: Facts) -> Iterator[Trouble]:
    """Arms whose error rate of the last seconds is certainly too high."""
    if not facts.node.runs:
        return
    for arm, seconds in sorted(facts.recent.arms.items()):
        begin = facts.end - ERRORS_S
        tally = tallies.total(each for at, each in seconds.items() if begin < at <= facts.end)
        answered = tally.ok + tally.failed
        if _certain(tally.failed, answered):
            rate = words.percent(tally.failed / answered)
            yield Trouble(
                brief=f"{arm} errors {rate.replace(' ', '')}",
                sentence=f"{tally.failed} of {words.counted(answered, 'request')} to {arm} failed "
                f"in the last {ERRORS_S} s.",
            )


def queue(facts: Facts) -> Iterator[Trouble]:
    """Requests that nothing can take, and requests that wait too long."""
    since, held = load.held_since(facts), load.held_now(facts)
    if since is not None:
        for_us = (facts.end - since) * SECOND_US
        unwell = [each for each in deployments.shown(facts) if not each.well]
        if for_us >= (HELD_US if unwell else WAIT_US):
            what = ", ".join(f"{each.name} ({each.state})" for each in unwell) or "an instance"
            said = f"{words.counted(held, 'request')} in the gateway"
            yield Trouble(
                brief=f"{held} held {words.age(for_us)}",
                sentence=f"{said}, held for {words.age(for_us)}: waiting for {what}.",
            )
    for name, each in sorted(load.by_deployment(facts).items()):
        if each.oldest_us is not None and each.waiting and each.oldest_us >= WAIT_US:
            oldest = words.age(each.oldest_us)
            yield Trouble(
                brief=f"queue {each.waiting}, {oldest}",
                sentence=f"{words.counted(each.waiting, 'request')} in the queue of {name}, the "
                f"oldest for {oldest}.",
            )


def _certain(bad: int, whole: int) -> bool:
    """Whether the share of bad requests is certainly too high."""
    surely = measures.interval(bad, whole)
    return bad >= FAILED and surely is not None and surely[0] > ERRORS
