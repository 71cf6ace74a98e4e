"""What places show, as text: the snapshots of two boxes, word for word."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from syrupy.assertion import SnapshotAssertion

from app.snapshot import Query
from storage.home.paths import Home
from tests.app import populated_homes, store_facts
from tests.app.pilot import FakeNode

pytestmark = pytest.mark.usefixtures("node")


def _rounded(value: Any) -> Any:
    """Sums of floats differ in their last bit between versions of Python."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list | tuple) else value


def as_text(seen: object) -> str:
    """A view model as text; of charts the last seconds, of floats six figures."""
    plain: Any = _rounded(msgspec.to_builtins(seen))
    for chart in (plain.get("pulse") or {}).get("charts", ()):
        chart["values"] = chart["values"][-12:]
    return json.dumps(plain, indent=1, ensure_ascii=False)


@pytest.mark.parametrize("place", ["pulse", "traffic"])
async def test_the_busy_box(busy_home: Home, snapshot: SnapshotAssertion, place: str) -> None:
    """Every figure of a place, on a box under load."""
    assert snapshot == as_text(await store_facts.look(busy_home, Query(place=place)))


async def test_the_busy_box_with_its_node_down(
    busy_home: Home, node: FakeNode, snapshot: SnapshotAssertion
) -> None:
    """A minute after the node ended: what was is shown, what is now is unknown."""
    node.down = True
    late = populated_homes.NOW_US + 60 * populated_homes.SECOND_US
    assert snapshot == as_text(await store_facts.look(busy_home, Query(place="pulse"), late))


async def test_one_request_in_full(busy_home: Home, snapshot: SnapshotAssertion) -> None:
    """With its text, which its service keeps, and what was thought of it."""
    wanted = Query(place="request", request=f"req_{2:024x}")
    assert snapshot == as_text((await store_facts.look(busy_home, wanted)).request)


async def test_a_request_that_is_not_there_says_why(busy_home: Home) -> None:
    """The sentence of the store, not an empty place."""
    found = await store_facts.look(busy_home, Query(place="request", request="req_nothing"))
    assert found.request is None
    assert "no request req_nothing" in found.missing


async def test_the_role_is_what_the_control_socket_says(quiet_home: Home, node: FakeNode) -> None:
    """A viewer may not act."""
    node.role = "viewer"
    header = (await store_facts.look(quiet_home, Query())).header
    assert (header.person.role, header.person.acts) == ("viewer", False)
