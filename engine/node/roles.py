"""The person behind a user id, and their role on this box.

Users and groups come from the system, roles from config.toml. Clients never name themselves.
Imported by `engine.node.control_requests`.
"""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from engine.process.peers import Peer
from storage.keys import Role

_HIGHEST_FIRST: Final = (Role.ADMIN, Role.OPERATOR, Role.VIEWER)


@dataclass(frozen=True, slots=True)
class Person:
    """A user of this machine with the names of their groups."""

    name: str
    uid: int
    groups: frozenset[str]


def look_up(who: Peer) -> Person:
    """The user's name and groups; may query a directory service, so call it in a thread."""
    try:
        user = pwd.getpwuid(who.uid)
    except KeyError:
        return Person(f"uid{who.uid}", who.uid, frozenset())
    names = set()
    for gid in os.getgrouplist(user.pw_name, user.pw_gid):
        try:
            names.add(grp.getgrgid(gid).gr_name)
        except KeyError:
            continue
    return Person(user.pw_name, who.uid, frozenset(names))


def role(person: Person, owner_uid: int, people: Mapping[Role, Collection[str]]) -> Role | None:
    """The highest role that the person has by name or by `@group`; None without any.

    The owner of the data directory is always admin: the files are theirs.
    """
    if person.uid == owner_uid:
        return Role.ADMIN
    called = {person.name} | {f"@{group}" for group in person.groups}
    for each in _HIGHEST_FIRST:
        if called & set(people.get(each, ())):
            return each
    return None
