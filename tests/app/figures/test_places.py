"""What places show, as text: the snapshots of two boxes, word for word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from syrupy.assertion import SnapshotAssertion

from app import status_lines
from app.snapshot import Query
from storage import ledger, processes, samples
from storage import store as stores
from storage.home.paths import Home
from storage.store import Session
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


@pytest.fixture
def own_home(tmp_path: Path) -> Home:
    """A quiet box of this test's own."""
    return populated_homes.make(tmp_path / "home", populated_homes.quiet)


async def test_a_death_is_told_with_its_cause_after_the_restart_too(own_home: Home) -> None:
    """In what happened last, in what is wrong, beside the instance, and in the ledger."""
    home = own_home
    now = populated_homes.NOW_US
    store = await stores.open(home, now_us=lambda: now)
    name, died = "new-1.0.0:1", "it was killed by SIGABRT: GGML_ASSERT(n > 0) failed"

    async def work(s: Session) -> None:
        kind, of = processes.Kind.WORKER, samples.deployment(name)
        await processes.declare(s, name=name, kind=kind, at_us=now - 99, deployment=of)
        await processes.move(s, name, processes.State.CRASHED, at_us=now - 9, reason=died)
        await processes.declare(s, name=name, kind=kind, at_us=now, deployment=of, restarts=1)

    await store.write(work)
    async with store.read() as s:
        assert (await ledger.of(s, "process", name))[1].reason == died
    await store.close()
    seen = await store_facts.look(home)
    assert seen.pulse is not None
    assert f"{name} crashed: {died}" in [each.what for each in seen.pulse.events]
    found = {one.name: one.died for each in seen.pulse.deployments for one in each.instances}
    assert found[name] == died
    assert seen.header.troubles[-1].sentence.endswith(f"it is starting. Before, {died}.")
    said = status_lines.lines(seen.header, seen.pulse, home, "")
    assert f"{samples.deployment(name)}: {name} restarted 1x (the last time {died})" in said


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
