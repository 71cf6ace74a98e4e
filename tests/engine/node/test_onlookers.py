"""Several people on one box: other users of the machine at a real control socket and store."""

from __future__ import annotations

import asyncio
import grp
import json
import stat
from collections.abc import Iterator

import pytest

from storage.home.paths import Home
from tests import home_fixtures, other_users
from tests.engine.node.nodes import RealNode, ready
from tests.other_users import User

GROUP = next(each for each in grp.getgrall() if each.gr_gid)
OPERATOR, VIEWER, GUEST = (User(uid, (GROUP.gr_gid,)) for uid in range(61_301, 61_304))
OTHER = User(61_304)
SPLIT = ("services", "split", "ops", "r1=90", "r2=10", "--yes")
KEY = ("keys", "create", "--name", "sara")


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Iterator[RealNode]:
    """A node that is not started, where others can reach its home."""
    with other_users.open_directory() as place:
        node = RealNode(place / "home")
        monkeypatch.setenv("PADDOCK_HOME", str(node.home.root))
        yield node
        node.end()


def mode(home: Home) -> tuple[int, int, int, int]:
    """The permissions of the directory, the control socket, the store and its log."""
    paths = (home.root, home.control_socket, home.database, home.root / "paddock.db-wal")
    found = [stat.S_IMODE(path.stat().st_mode) for path in paths]
    return found[0], found[1], found[2], found[3]


@other_users.only_root
async def test_each_does_what_their_role_allows_and_the_group_looks(node: RealNode) -> None:
    """By name and by group, from the first look to the refusal; without the group all is closed."""
    node.home.config.write_text(
        f'[people]\ngroup = "{GROUP.gr_name}"\n'
        f'operator = ["uid{OPERATOR.uid}"]\nviewer = ["uid{VIEWER.uid}"]\n'
    )
    node.start()
    assert mode(node.home) == (0o2710, 0o660, 0o600, 0o600)
    await node.until(ready("reads"))
    await node.release("ops", home_fixtures.WEIGHTS)
    await node.must("services.create", "ops", {"release": "r1"})
    again = {"model": "ops@1.0.0", "sampling": {"temperature": 0.5}}
    await node.must("releases.create", "", again)

    operator, viewer, guest, other = await asyncio.to_thread(
        other_users.paddock,
        {
            OPERATOR: (("status",), SPLIT, KEY),
            VIEWER: (("status", "--json"), ("requests", "tail"), SPLIT, ("backup", "copy.db")),
            GUEST: (("status",), SPLIT),
            OTHER: (("status",), ("runbooks", "list"), ("stop", "--yes"), SPLIT),
        },
    )
    assert [(each.code, each.err) for each in operator] == [
        (0, ""), (0, ""), (1, f"uid{OPERATOR.uid} is operator; to add a key one must be admin.\n"),
    ]  # fmt: skip
    assert "r1 90 %, r2 10 %" in operator[1].out
    assert [each.code for each in viewer] == [0, 0, 1, 1]
    assert "Only the owner" in viewer[3].err
    assert json.loads(viewer[0].out)["person"]["role"] == "viewer"
    assert "is viewer; to set a service's split one must be operator" in viewer[2].err
    assert [each.code for each in guest] == [0, 1]
    assert "has no role on this box, so it is read-only" in guest[1].err
    assert {each.code for each in other} == {1}
    (told,) = {each.err for each in other}
    assert told.startswith(f"uid{OTHER.uid} is not in the group {GROUP.gr_name}: `usermod -aG ")

    assert node.stop() == 0
    ((down, late),) = other_users.paddock({VIEWER: (("status",), SPLIT)})
    assert (down.code, late.code) == (3, 3)
    assert "only its owner can read the store then" in down.err

    node.home.config.write_text("")
    node.start()
    assert mode(node.home) == (0o700, 0o600, 0o600, 0o600)
    ((shut,),) = other_users.paddock({VIEWER: (("status",),)})
    assert (shut.code, "Only root may read" in shut.err) == (1, True)
    parts = await node.until(ready("control"))
    assert "reads" not in parts


async def test_a_group_that_is_not_there_keeps_the_node_from_starting(node: RealNode) -> None:
    """With a sentence that says what to do; the home stays closed."""
    node.home.config.write_text('[people]\ngroup = "no-such-group"\n')
    starting = node.spawn()
    _, said = await asyncio.to_thread(starting.communicate, timeout=60)
    assert starting.returncode == 2
    assert b"groupadd no-such-group" in said
    assert stat.S_IMODE(node.home.root.stat().st_mode) == 0o700
