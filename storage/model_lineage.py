"""The family tree of model versions: what each was made from, and what was made from it.

An edge is a version's parent, or the base of an adapter. The graph has no cycles: `prove` refuses
the edge that would close one. Pure. Imported by `storage.models` and `app`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from storage import errors


class Member(Protocol):
    """What the tree needs to know of a version."""

    @property
    def id(self) -> int:
        """Its number."""

    @property
    def name(self) -> str:
        """As people write it."""

    @property
    def parent_id(self) -> int | None:
        """The version that it was trained or converted from."""

    @property
    def base_id(self) -> int | None:
        """The weights that an adapter needs."""


class Node(msgspec.Struct, frozen=True):
    """A version in the tree; `depth` counts from the root of its line, which is 0.

    `relation` says how it came from the version above it: empty for a root. `last` has, for each
    depth down to its own, whether no sibling follows.
    """

    id: int
    name: str
    depth: int
    relation: str
    last: tuple[bool, ...]


def prove(members: Mapping[int, Member], id: int, parent_id: int) -> None:
    """Prove that a version may have this parent.

    Raises:
        Invalid: it would be its own ancestor; the message shows the way.
    """
    way = _way(members, parent_id, id)
    if way:
        shown = " → ".join(members[each].name for each in reversed(way))
        raise errors.Invalid(
            f"{members[parent_id].name} cannot be the parent of {members[id].name}: it was made "
            f"from it ({shown}), and a version is not its own ancestor."
        )


def ancestors(members: Mapping[int, Member], id: int) -> list[int]:
    """What a version was made from, nearest first, its base and its parent's base included."""
    found: list[int] = []
    queue = list(_above(members[id]))
    while queue:
        each = queue.pop(0)
        if each not in found and each in members:
            found.append(each)
            queue += _above(members[each])
    return found


def tree(members: Iterable[Member], root: int | None = None) -> list[Node]:
    """All lines from their oldest version down, or the one line that `root` belongs to.

    A version is placed below its parent, an adapter without a parent below its base; siblings keep
    the order in which they are given.
    """
    known = {each.id: each for each in members}
    below: dict[int | None, list[Member]] = {}
    for each in known.values():
        below.setdefault(_place(each, known), []).append(each)
    tops = below.get(None, [])
    if root is not None:
        top = root
        while (above := _place(known[top], known)) is not None:
            top = above
        tops = [known[top]]
    found: list[Node] = []
    # a stack, as lines may be longer than Python's recursion limit
    stack = _siblings(tops, 0, ())
    while stack:
        member, depth, last = stack.pop()
        found.append(Node(member.id, member.name, depth, _relation(member, known), last))
        stack += _siblings(below.get(member.id, []), depth + 1, last)
    return found


_Entry = tuple[Member, int, tuple[bool, ...]]


def _siblings(members: Sequence[Member], depth: int, last: tuple[bool, ...]) -> list[_Entry]:
    """The children of one version as entries of the stack, the first one on its top."""
    entries: list[_Entry] = []
    for number, member in enumerate(members, 1):
        entries.append((member, depth, (*last, number == len(members))))
    return entries[::-1]


def _above(member: Member) -> list[int]:
    return [each for each in (member.parent_id, member.base_id) if each is not None]


def _place(member: Member, known: Mapping[int, Member]) -> int | None:
    """Below which version a version is drawn; None for a root."""
    return next((each for each in _above(member) if each in known), None)


def _relation(member: Member, known: Mapping[int, Member]) -> str:
    parent, base = known.get(member.parent_id or 0), known.get(member.base_id or 0)
    if parent is not None and base is not None and parent.id != base.id:
        return f"adapter on {base.name}"
    if base is not None:
        return "adapter"
    return "" if parent is None else "derived"


def _way(members: Mapping[int, Member], frm: int, to: int) -> list[int]:
    """The versions on a way up from one version to another, both included; empty without one."""
    came: dict[int, int | None] = {frm: None}
    queue = [frm]
    while queue:
        each = queue.pop(0)
        if each == to:
            way: list[int] = []
            at: int | None = each
            while at is not None:
                way.append(at)
                at = came[at]
            return way[::-1]
        for above in _above(members[each]) if each in members else []:
            if above not in came:
                came[above] = each
                queue.append(above)
    return []
