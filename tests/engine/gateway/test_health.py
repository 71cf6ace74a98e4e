"""Readiness: judged service by service, with the arms that cannot answer and why."""

from __future__ import annotations

import pytest

from engine.execution.catalog import Snapshot
from engine.execution.execute import Executor
from engine.gateway import health
from storage.releases import Release
from tests.engine.backends.test_local import snapshot
from tests.engine.execution import jobs


class Judge:
    """A backend that cannot answer for some releases."""

    def __init__(self, *down: int) -> None:
        self.down = down

    def unready(self, release: Release) -> str | None:
        """Down."""
        return "it is down in /srv/models/x.gguf" if release.number in self.down else None


@pytest.mark.parametrize(
    ("down", "ready", "reasons"),
    [
        ((), True, {}),
        ((2,), True, {"r2": "it is down in x.gguf"}),
        ((1, 2), False, {"r1": "it is down in x.gguf", "r2": "it is down in x.gguf"}),
    ],
)
def test_a_service_is_ready_while_one_of_its_arms_is(
    down: tuple[int, ...], ready: bool, reasons: dict[str, str]
) -> None:
    """The body says which are not, without the places of files."""
    executor = Executor(
        {"local": Judge(*down)},  # type: ignore[dict-item]
        record=lambda *_: None,
        gaps=lambda *_: [],
        now_us=lambda: 0,
    )
    found = health.arms(snapshot(jobs.release(), jobs.release(number=2)), executor)
    assert health.answers(found) is ready
    assert {arm.release: arm.reason for arm in found["ops"] if arm.reason} == reasons


def test_without_a_service_nothing_is_ready() -> None:
    """There is nothing that could answer."""
    executor = Executor({}, record=lambda *_: None, gaps=lambda *_: [], now_us=lambda: 0)
    assert not health.answers(health.arms(Snapshot(), executor))
