"""Whether values are larger since a change, beyond a drift that was under way before it.

For what a change does to a bystander, which has no arm beside it: only its own time before. That
time is split into an earlier and a later half. The shift between the halves, at the far end of its
interval, is drawn out in a straight line to the middle of the time since, and taken off the shift
that is found there. So a drift is not blamed on a change, and the longer ago the change, the more
has to be shown.

A drift that grows faster than a line is taken for the change, and so is anything that began at the
same moment. Values that resemble their neighbours make the intervals too narrow: give medians of
short stretches of time. Asked once, not at every look. Imported by the controllers and `verdict`.

Sources: the interrupted time series of Wagner, Soumerai, Zhang and Ross-Degnan 2002, "Segmented
regression analysis of interrupted time series studies in medication use research", with the shift
of `engine.judging.shift` for the level and a bound for the trend, in place of a regression.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.judging import errors, exceedance, shift
from engine.judging.shift import Shift


@dataclass(frozen=True, slots=True)
class Stretch:
    """The values of a stretch of time, and its middle in seconds."""

    middle_s: float
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Since:
    """What was found, in the unit of the values.

    `shift` is that of the time since against the later half before. `drift` is the most of it that
    the drift before explains; inf while either half has too few values. `worse`: what is left is
    more than the least effect.
    """

    shift: Shift
    drift: float
    worse: bool


def compare(
    earlier: Stretch,
    later: Stretch,
    since: Stretch,
    *,
    least: float,
    alpha: float = exceedance.ALPHA,
) -> Since:
    """The shift since a change; `alpha` is split between it and the drift.

    Raises:
        CannotJudge: the stretches do not follow each other, one has no value or an impossible one.
    """
    if not earlier.middle_s < later.middle_s < since.middle_s:
        raise errors.CannotJudge("the stretches of time overlap: give them in their order")
    found = shift.compare(since.values, later.values, least=least, alpha=alpha / 2)
    before = shift.compare(later.values, earlier.values, alpha=alpha / 2)
    further = (since.middle_s - later.middle_s) / (later.middle_s - earlier.middle_s)
    drift = max(before.interval[1], 0.0) * further
    return Since(found, drift, worse=found.interval[0] > least + drift)
