"""Who asks is what the kernel says; what they may do is what config.toml says."""

from __future__ import annotations

import os
import pwd
import socket

from engine.node import roles
from engine.node.roles import Person
from engine.process import peers
from storage.keys import Role

SARA = Person("sara", 1001, frozenset({"staff", "oncall"}))


def test_the_owner_of_the_home_is_admin_without_being_named() -> None:
    """The files are theirs anyway."""
    assert roles.role(SARA, 1001, {}) is Role.ADMIN


def test_a_stranger_has_no_role() -> None:
    """Not even to look."""
    assert roles.role(SARA, 0, {Role.ADMIN: ("kim",), Role.VIEWER: ("@other",)}) is None


def test_a_role_comes_by_name_or_by_group_and_the_highest_counts() -> None:
    """@oncall makes an operator of a viewer."""
    named = {Role.VIEWER: ("sara",), Role.OPERATOR: ("@oncall",)}
    assert roles.role(SARA, 0, named) is Role.OPERATOR
    assert roles.role(SARA, 0, {Role.VIEWER: ("sara",)}) is Role.VIEWER


def test_a_user_called_like_a_group_is_not_the_group() -> None:
    """`staff` and `@staff` are different people."""
    assert roles.role(SARA, 0, {Role.ADMIN: ("staff",)}) is None


def test_the_kernel_says_who_is_at_the_other_end() -> None:
    """A socket pair knows its maker."""
    left, right = socket.socketpair(socket.AF_UNIX)
    with left, right:
        who = peers.peer(left)
    assert (who.pid, who.uid) == (os.getpid(), os.getuid())
    assert roles.look_up(who).name == pwd.getpwuid(os.getuid()).pw_name


def test_a_user_without_a_name_is_known_by_their_number() -> None:
    """Containers run as ids that no passwd file knows."""
    person = roles.look_up(peers.Peer(1, 3_999_999_999, 1))
    assert person == Person("uid3999999999", 3_999_999_999, frozenset())
