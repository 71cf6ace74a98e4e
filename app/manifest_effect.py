"""What applying a manifest would change, in lines for people.

Pure. Imported by `app.commands.manifests`, `app.commands.releases` and
the place of releases.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from app import words
from storage import splits

if TYPE_CHECKING:  # the screen imports this before the store's libraries are loaded
    from storage.manifests import ArmChange, Change
    from storage.release_differences import Difference, Field

_NEW: Final = "a new release"


def lines(change: Change) -> list[str]:
    """What changes for one service, then how each of its new arms differs from what answers now."""
    if change.nothing:
        led = "" if change.before is None else f": {change.before.words}"
        return [f"{change.name}  unchanged{led}"]
    found = [f"{change.name}  {_split(change)}"]
    if change.texts:
        found.append(f"  texts  {'recorded' if change.record_text else 'not recorded'}")
    if change.before is not None:
        found.append(f"  {change.before.words}")
    if change.policy:
        found.append(f"  releases  {_policy(change)}")
    if change.labels:
        found.append(f"  labels  {_labels(change)}")
    if change.staging:
        of = change.staging_of
        found.append(f"  {'production' if of is None else f'staging of {of}'}")
    known = set() if change.service is None else {
        arm.release for arm in change.service.split.arms if arm.weight_bp
    }  # fmt: skip
    for arm in change.arms:
        if arm.differences and (arm.release is None or arm.release.number not in known):
            found.append(f"  {_name(arm)} differs from what answers now:")
            found += [f"    {line}" for line in differing(arm.differences)]
    return found


def differing(differences: Iterable[Difference]) -> list[str]:
    """One aligned line a field: its name, before, after. Hashes show only where names agree."""
    rows = [(each.field, _value(each.before), _value(each.after)) for each in _told(differences)]
    return words.table([(field, f"{before} → {after}") for field, before, after in rows])


def _told(differences: Iterable[Difference]) -> Sequence[Difference]:
    found = list(differences)
    named = {each.field for each in found}
    return [
        each for each in found
        if not (each.field.endswith(".sha256") and each.field.removesuffix(".sha256") in named)
    ]  # fmt: skip


def _split(change: Change) -> str:
    after = ", ".join(f"{_name(arm)} {splits.percent(arm.weight_bp)}" for arm in change.arms)
    if change.service is None:
        return f"is new: {after}"
    before = splits.words(splits.pairs(change.service.split.arms))
    if not change.split:
        return before
    by = "" if change.rollout is None else f" by a rollout, {change.rollout.words}"
    return f"{before} → {after}{by}"


def _policy(change: Change) -> str:
    """How later releases get to the traffic, before and after."""
    had = None if change.service is None else change.service.rollout_policy
    told = ["at once" if each is None else each.words for each in (had, change.rollout)]
    return told[1] if change.service is None else " → ".join(told)


def _labels(change: Change) -> str:
    """How labels that move are followed, before and after."""
    had = "at_once" if change.service is None else change.service.on_label.value
    return f"{had} → {change.on_label}"


def _name(arm: ArmChange) -> str:
    return _NEW if arm.release is None else arm.release.name


def _value(value: Field) -> str:
    if value is None or value == "":
        return words.UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
