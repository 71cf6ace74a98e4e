"""Who is connected to the control socket, and their role on this box.

The kernel says which user is at the other end; users and groups come from the system, roles from
config.toml. Clients never name themselves. Imported by `engine.node.control_socket`.
"""

from __future__ import annotations

import grp
import os
import pwd
import socket
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from storage.keys import Role

_CREDENTIALS: Final = struct.Struct("3i")
_HIGHEST_FIRST: Final = (Role.ADMIN, Role.OPERATOR, Role.VIEWER)


@dataclass(frozen=True, slots=True)
class Peer:
    """The process at the other end, as the kernel knows it."""

    pid: int
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Person:
    """A user of this machine with the names of their groups."""

    name: str
    uid: int
    groups: frozenset[str]


def peer(connection: socket.socket) -> Peer:
    """Who connected, at the moment when they did."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(raw)
    return Peer(pid, uid, gid)


def look_up(who: Peer) -> Person:
    """The user's name and groups; may ask a directory service, so call it off the loop."""
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
