"""Shifting a service's split from the screen: what was typed, what it would do.

Pure functions of what is on the screen; the door checks all of it again. Imported by the traffic
place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from app import snapshot, words
from app.screens.place import Offer

_WHOLE_BP: Final = 10_000
_PERCENT: Final = 100


def undo(service: snapshot.Service) -> Offer:
    """Put back the split before the one that stands."""
    if len(service.history) < 2:  # noqa: PLR2004 this split and the one before
        return Offer(unable=f"{service.name} has had one split only")
    standing, before = service.history[:2]
    effect = change(service.name, dict(standing.arms), dict(before.arms))
    return Offer(target=service.name, seen=service.version, effect=f"undo: {effect}")


def split(service: snapshot.Service, typed: str | None) -> Offer:
    """Set the weights that were typed; before anything is typed, the form."""
    before = dict(service.history[0].arms) if service.history else {}
    if typed is None:
        return Offer(form=form(before.items()))
    try:
        after = weights(typed)
    except ValueError as error:
        return Offer(unable=str(error), form=typed)
    if after == before:
        return Offer(unable="that is the split that stands", form=typed)
    return Offer(
        target=service.name,
        arguments={"arms": {f"r{release}": points for release, points in after.items()}},
        seen=service.version,
        effect=f"split: {change(service.name, before, after)}",
    )


def weights(typed: str) -> dict[int, int]:
    """Basis points by release from what was typed: `r1=90 r2=10`.

    Raises:
        ValueError: with a sentence for the person.
    """
    found: dict[int, int] = {}
    for word in typed.replace(",", " ").split():
        name, _, share = word.partition("=")
        number = name.removeprefix("r")
        if not (number.isascii() and number.isdecimal() and share):
            raise ValueError(f"{word!r} is not RELEASE=PERCENT, as in r1=90")
        if int(number) in found:
            raise ValueError(f"r{number} stands there twice")
        try:
            points = float(share.removesuffix("%")) * _PERCENT
        except ValueError:
            raise ValueError(f"{share!r} is not a percentage") from None
        if not 0 <= points <= _WHOLE_BP or abs(points - round(points)) > 1e-6:  # noqa: PLR2004
            raise ValueError(f"{share} is not between 0 and 100 in steps of 0.01")
        found[int(number)] = round(points)
    total = sum(found.values())
    if total != _WHOLE_BP:
        raise ValueError(f"the weights add up to {words.weight(total)}, not 100 %")
    return found


def form(split: Iterable[tuple[int, int]]) -> str:
    """A split as it is typed."""
    return " ".join(f"r{release}={points / _PERCENT:g}" for release, points in split)


def change(name: str, before: Mapping[int, int], after: Mapping[int, int]) -> str:
    """What a new split does: support  r1 90 % → 50 %  r2 10 % → 50 %."""
    changes = [
        f"r{release} {words.weight(before.get(release, 0))} → {words.weight(after.get(release, 0))}"
        for release in dict.fromkeys([*before, *after])
    ]
    return f"{name}  " + "  ".join(changes)
