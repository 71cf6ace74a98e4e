"""Operations on two vectors: which element of one belongs to which of the other.

The rules are those of Prometheus' vector matching. Pure. Imported by
`engine.control.alerts.evaluate`.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.control.alerts import vectors
from engine.control.alerts.vectors import NAME, Faulty, Labels, Vector
from storage.alert_expressions import ARITHMETIC, Binary, Card

Compute = Callable[[str, float, float], "float | bool | None"]


def key(node: Binary, labels: Labels) -> Labels:
    """What two elements must have in common to belong together."""
    if node.on:
        return vectors.only(labels, node.labels)
    return vectors.besides(labels, {*node.labels, NAME})


def sets(node: Binary, left: Vector, right: Vector) -> Vector:
    """`and`, `or` and `unless`: elements of the left, or of either, by what the other has."""
    met = {key(node, labels) for labels in right.values}
    unmet = {key(node, labels) for labels in right.unmet} - met
    result = Vector()
    if node.operation == "or":
        mine = {key(node, labels) for labels in left.values}
        result.values = dict(left.values)
        for labels, value in right.values.items():
            if key(node, labels) not in mine:
                result.put(labels, value)
        covered = mine | met
        result.unmet = {
            labels for labels in left.unmet | right.unmet if key(node, labels) not in covered
        }
        return result.settled()
    for labels, value in left.values.items():
        other = key(node, labels)
        if (other in met) == (node.operation == "and"):
            result.values[labels] = value
        elif node.operation == "unless" or other in unmet:
            result.unmet.add(labels)
    known = met | unmet
    result.unmet |= {
        labels for labels in left.unmet if node.operation == "unless" or key(node, labels) in known
    }
    return result.settled()


def pairs(node: Binary, left: Vector, right: Vector, compute: Compute) -> Vector:
    """Arithmetic and comparisons, element by element.

    Raises:
        Faulty: an element belongs to several of the other side and the operation does not say so.
    """
    swapped = node.card is Card.ONE_TO_MANY
    many, one = (right, left) if swapped else (left, right)
    met = _by_key(node, one, strictly=bool(many.values))
    known = {key(node, labels): labels for labels in one.unmet} | met
    filters = node.operation not in ARITHMETIC and not node.as_bool
    result, taken = Vector(), set[Labels]()
    for labels, value in many.values.items():
        shared = key(node, labels)
        if shared not in known:
            continue
        made = _result(node, labels, known[shared])
        if shared not in met:
            result.unmet.add(made)
            continue
        other = one.values[met[shared]]
        sides = (other, value) if swapped else (value, other)
        computed = compute(node.operation, *sides)
        if filters and not computed:
            result.unmet |= {made} if computed is not None else set()
            continue
        claim = shared if node.card is Card.ONE_TO_ONE else made
        if claim in taken:
            raise Faulty(f"{_several(shared)}; say group_left or group_right, or aggregate them")
        taken.add(claim)
        result.values[made] = sides[0] if filters else float(computed or 0)
    for labels in many.unmet:
        if (shared := key(node, labels)) in known:
            result.unmet.add(_result(node, labels, known[shared]))
    return result.settled()


def _by_key(node: Binary, one: Vector, *, strictly: bool) -> dict[Labels, Labels]:
    """The elements of the side of which there is one for each key."""
    found: dict[Labels, Labels] = {}
    for labels in one.values:
        shared = key(node, labels)
        if shared in found and strictly:
            raise Faulty(f"{_several(shared)}; aggregate them, or match on more labels")
        found[shared] = labels
    return found


def _result(node: Binary, many: Labels, one: Labels) -> Labels:
    """The labels of a pair's result."""
    labels = many
    if node.operation in ARITHMETIC or node.as_bool:
        labels = vectors.nameless(labels)
    if node.card is Card.ONE_TO_ONE:
        labels = (
            vectors.only(labels, node.labels) if node.on else vectors.besides(labels, node.labels)
        )
    if node.include:
        theirs = dict(one)
        kept = dict(vectors.besides(labels, node.include))
        labels = vectors.ordered(kept | {name: theirs.get(name, "") for name in node.include})
    return labels


def _several(shared: Labels) -> str:
    said = ", ".join(f'{name}="{value}"' for name, value in shared)
    return f"several series on one side of an operator have {{{said}}}"
