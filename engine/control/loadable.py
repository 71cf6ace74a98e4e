"""Whether the releases of a split can answer, and the refusal where one cannot.

Judged by `storage.availability`; screens and commands say the same before they ask. Imported by
`engine.control.services`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine.control.decisions import Decision, Reason
from storage import availability
from storage.availability import Can
from storage.splits import Arm
from storage.store import Session


def refuse(
    arms: Sequence[Arm],
    broken: Mapping[int, str],
    before: Sequence[Arm] = (),
    *,
    going_back: bool = False,
) -> Decision | None:
    """The refusal of an arm that cannot answer and is new, or would get more traffic than `before`.

    With `going_back`, arms without traffic are not checked.
    """
    had = {arm.release: arm.weight_bp for arm in before}
    least = 0 if going_back else -1  # an arm of weight 0 would be loaded
    for arm in arms:
        if arm.weight_bp > had.get(arm.release, least) and arm.release in broken:
            return Decision(Reason.UNLOADABLE, broken[arm.release])
    return None


async def broken(s: Session, arms: Sequence[Arm]) -> dict[int, str]:
    """Why releases cannot answer; those that can, or that have only to start, are left out."""
    known = await availability.every(s, [arm.release for arm in arms])
    return {
        number: f"r{number} cannot answer: {each.reason}."
        for number, each in known.items()
        if each.can is Can.NOT
    }
