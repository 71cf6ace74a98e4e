"""The steps of a rollout, as data; `rollout_guards` has what it is held to.

Pure: nothing here reads the store or the clock. Without the store's libraries, so that a command
can read what a person typed before these are loaded. `rollout_syntax` has how they are typed.
Imported by every package.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from storage import blocked_addresses, errors, rollout_guards, splits
from storage.rollout_guards import MOST_GUARDS, Guard
from storage.splits import WHOLE_BP

MOST_STEPS: Final = 32
MOST_NOTIFIED: Final = 8
HOUR_S: Final = 3600

_Seconds = Annotated[int, Meta(ge=1, le=30 * 24 * HOUR_S)]

_IN_A_URL: Final = re.compile(r"[\x21-\x7e]+")


class SetWeight(msgspec.Struct, frozen=True, tag="set_weight"):
    """The candidate gets this share of the traffic, the stable release the rest."""

    weight_bp: Annotated[int, Meta(ge=0, le=WHOLE_BP)]


class Pause(msgspec.Struct, frozen=True, tag="pause"):
    """Wait this long; None: until a person promotes the rollout."""

    duration_s: _Seconds | None = None


class Analysis(msgspec.Struct, frozen=True, tag="analysis"):
    """Wait until every guard that must be shown to hold is; after `at_most_s`, pause."""

    at_most_s: _Seconds = HOUR_S


class Mirror(msgspec.Struct, frozen=True, tag="mirror"):
    """The candidate gets copies of this share of the requests, and no user gets its answers.

    Over once every guard that must be shown to hold is, by `at_least` copies; after `at_most_s`,
    pause.
    """

    share_bp: Annotated[int, Meta(ge=1, le=WHOLE_BP)] = 1000
    at_least: Annotated[int, Meta(ge=1, le=1_000_000)] = 300
    at_most_s: _Seconds = 24 * HOUR_S


class OnNo(StrEnum):
    """What a rollout does when a webhook says no."""

    PAUSE = "pause"
    ABORT = "abort"


class Webhook(msgspec.Struct, frozen=True, tag="webhook"):
    """Ask an HTTP server whether to continue; without an answer after `at_most_s`, pause.

    The weight stays and the guards are held while it is asked. Its position says when: before the
    first weight, between two of them, or before the end.
    """

    url: Annotated[str, Meta(min_length=8, max_length=2048)]
    at_most_s: Annotated[int, Meta(ge=1, le=24 * HOUR_S)] = 600
    on_no: OnNo = OnNo.PAUSE

    def __post_init__(self) -> None:
        """Refuse what is no address, or holds a password, which everyone could read."""
        check_url(self.url)


Step = SetWeight | Pause | Analysis | Mirror | Webhook


class Strategy(StrEnum):
    """How a candidate comes to all of the traffic."""

    BLUE_GREEN = "blue_green"  # at once, with the stable release loaded until the soak has ended
    CANARY = "canary"  # by steps
    SHADOW = "shadow"  # by copies of requests first, then by steps


class OnLabel(StrEnum):
    """How a service follows a label that moves: at once, or by a rollout of this strategy."""

    AT_ONCE = "at_once"
    BLUE_GREEN = Strategy.BLUE_GREEN.value
    CANARY = Strategy.CANARY.value
    SHADOW = Strategy.SHADOW.value


_CANARY: Final[tuple[Step, ...]] = (
    SetWeight(500), Analysis(), SetWeight(5000), Analysis(), SetWeight(WHOLE_BP), Analysis(),
)  # fmt: skip
DEFAULTS: Final[dict[Strategy, tuple[Step, ...]]] = {
    Strategy.BLUE_GREEN: (SetWeight(WHOLE_BP), Pause(HOUR_S), Analysis()),
    Strategy.CANARY: _CANARY,
    Strategy.SHADOW: (Mirror(), Pause(), *_CANARY),
}

AT_ONCE: Final[tuple[Step, ...]] = (SetWeight(WHOLE_BP),)
"""The steps of a return to a release that was healthy a short while ago."""


def check_url(url: str) -> None:
    """ValueError unless it is the address of a webhook: of an HTTP server, without a password."""
    try:
        parts = urlsplit(url)
        well_formed = parts.scheme in {"http", "https"} and bool(parts.hostname)
        well_formed = well_formed and (parts.port is None or parts.port > 0)
    except ValueError:
        well_formed = False
    if not well_formed or not _IN_A_URL.fullmatch(url) or parts.fragment:
        raise ValueError(f"{url[:200]!r} is not the address of a webhook; give https://host/path")
    if blocked_addresses.blocked(parts.hostname or ""):
        raise ValueError(f"the webhook cannot be used: {blocked_addresses.WHY}")
    if parts.username is not None or parts.password is not None:
        raise ValueError("the address of a webhook holds a password; sign the requests instead")


def check(steps: Sequence[Step], guards: Sequence[Guard]) -> None:
    """Invalid unless the steps lead the candidate to all of the traffic, by guards named once."""
    if not 0 < len(steps) <= MOST_STEPS:
        raise errors.Invalid(f"A rollout has 1 to {MOST_STEPS} steps, not {len(steps)}.")
    if len(guards) > MOST_GUARDS:
        raise errors.Invalid(f"A rollout has at most {MOST_GUARDS} guards, not {len(guards)}.")
    led = next((step for step in steps if not isinstance(step, Webhook)), steps[0])
    if not isinstance(led, SetWeight | Mirror):
        raise errors.Invalid(
            f"The first step sets a weight or mirrors requests; {words(led)} does not."
        )
    first = next((at for at, step in enumerate(steps) if isinstance(step, SetWeight)), len(steps))
    if any(isinstance(step, Mirror) for step in steps[first:]):
        raise errors.Invalid("Requests are mirrored before the first weight, not after it.")
    weights = [step.weight_bp for step in steps if isinstance(step, SetWeight)]
    if not weights or weights[-1] != WHOLE_BP:
        last = splits.percent(weights[-1]) if weights else "none"
        raise errors.Invalid(f"The last weight of a rollout is 100 %, not {last}.")
    if len({guard.name for guard in guards}) < len(guards):
        raise errors.Invalid("A guard is named twice; name each once.")
    if not guards and any(isinstance(step, Analysis | Mirror) for step in steps):
        raise errors.Invalid("An analysis needs a guard: name one, or give steps without analyses.")


def fits(strategy: Strategy, steps: Sequence[Step], guards: Sequence[Guard]) -> None:
    """Invalid unless a shadow begins with a mirror, and nothing else has one or guards copies."""
    mirrors = [isinstance(step, Mirror) for step in steps if not isinstance(step, Webhook)]
    if strategy is Strategy.SHADOW and not any(mirrors[:1]):
        raise errors.Invalid("The first step of a shadow is a mirror: mirror 10%.")
    if strategy is not Strategy.SHADOW and any(mirrors):
        raise errors.Invalid("Only a shadow mirrors requests; give it the strategy shadow.")
    if strategy is not Strategy.SHADOW:
        rollout_guards.of_requests(guards)


def ungated(steps: Sequence[Step]) -> int | None:
    """The position of the first weight after which time alone continues; None if there is none.

    Only an analysis or a person leads from one weight to the next, and from the last to the end.
    The answer of a webhook is added to theirs and replaces neither.
    """
    at: int | None = None
    for position, step in enumerate(steps):
        match step:
            case SetWeight() if at is not None:
                return at
            case SetWeight():
                at = position
            case Analysis() | Mirror() | Pause(None):
                at = None
            case Pause() | Webhook():
                pass
    return at


def stages(steps: Sequence[Step]) -> int:
    """How many of the steps give the candidate requests: its counts begin anew with each."""
    return sum(
        isinstance(step, Mirror) or (isinstance(step, SetWeight) and step.weight_bp > 0)
        for step in steps
    )


def words(step: Step) -> str:
    """A step in a sentence: 5 %, pause of 10 min, analysis of at most 1 h."""
    match step:
        case SetWeight(weight_bp):
            return splits.percent(weight_bp)
        case Pause(None):
            return "pause until promoted"
        case Pause(duration_s):
            return f"pause of {_duration(duration_s or 0)}"
        case Analysis(at_most_s):
            return f"analysis of at most {_duration(at_most_s)}"
        case Mirror(share_bp, at_least, at_most_s):
            share, most = splits.percent(share_bp), _duration(at_most_s)
            return f"mirror {share}, {at_least}+ copies, at most {most}"
        case Webhook(url, at_most_s, on_no):
            no = "" if on_no is OnNo.PAUSE else ", abort on no"
            return f"webhook {url}, at most {_duration(at_most_s)}{no}"


def _duration(seconds: int) -> str:
    for unit, name in ((24 * HOUR_S, "d"), (HOUR_S, "h"), (60, "min")):
        if seconds % unit == 0:
            return f"{seconds // unit} {name}"
    return f"{seconds} s"


def with_webhooks(
    steps: Sequence[Step], *, before: Webhook | None = None, after: Webhook | None = None
) -> tuple[Step, ...]:
    """The steps with a webhook before each weight, or after all that follows each weight."""
    found: list[Step] = []
    for step in steps:
        if isinstance(step, SetWeight):
            if after is not None and any(isinstance(each, SetWeight) for each in found):
                found.append(after)
            if before is not None:
                found.append(before)
        found.append(step)
    return (*found, *([] if after is None else [after]))
