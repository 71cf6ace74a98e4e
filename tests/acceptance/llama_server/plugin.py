"""The pytest plugin under which llama.cpp's server tests run: their llama-server is a Paddock box.

Loaded by a pytest of its own, in the folder of those tests, by `test_llama_server_tests`. A box
serves as many tests in turn as ask for the same settings. What the table says is not run is
skipped; how every test ended is written to the file that PADDOCK_OUTCOMES names.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import types
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from storage.model_checks import Task
from tests import home_fixtures
from tests.acceptance.llama_server import box, door, model_files, table
from tests.engine.gateway.gateway_processes import Stack
from tests.home_fixtures import WEIGHTS

_HUB: Final = types.ModuleType("wget")
"""Nothing is downloaded; the tests whose models would be are not run."""
_TABLE: Final = table.read()
_LOCAL: Final = tuple(
    f"http://{host}{port}"
    for host, other in (("localhost", 8080), ("127.0.0.1", 3000), ("[::1]", 3000))
    for port in ("", f":{other}")
)
"""Pages of this host, where llama-server has the word `localhost` for all of them."""
_KEPT: Final = 3
"""Boxes that run at once: most tests ask for one of a few settings, in turn."""

sys.modules["wget"] = _HUB
sys.path.insert(0, os.getcwd())  # noqa: PTH109

import utils  # type: ignore[import-not-found]  # noqa: E402 theirs


class Boxes:
    """The boxes that run, and the door in front of the one that a test asks."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._root = Path(self._folder.name)
        self._running: dict[box.Plan, tuple[Stack, ExitStack]] = {}
        self._door = ExitStack()
        self._made = 0
        self.endless = False
        """Whether the model of the next box does not end its texts."""

    def start(self, server: Any) -> None:
        """What `ServerProcess.start` does: returns when it answers."""
        plan = _plan(server, self._root, endless=self.endless)
        stack = self._box(plan)
        settings = door.Settings(
            stack.port,
            plan.service,
            stack.secrets["client"],
            server.api_key,
            {"enable_thinking": server.reasoning != "off"} if server.reasoning else {},
            verbose=server.debug,
        )
        self._door.close()
        self._door.enter_context(door.opened(server.server_port, settings))

    def _box(self, plan: box.Plan) -> Stack:
        """The box of a plan; the one that was asked longest ago ends for a new one."""
        if plan not in self._running:
            if len(self._running) == _KEPT:
                self._running.pop(next(iter(self._running)))[1].close()
            self._made += 1
            until = ExitStack()
            root = self._root / f"box-{self._made}"
            self._running[plan] = until.enter_context(box.running(root, plan)), until
        self._running[plan] = self._running.pop(plan)  # the last one asked is the last one here
        return self._running[plan][0]

    def stop(self) -> None:
        """What `ServerProcess.stop` does: it is not reachable any more."""
        self._door.close()

    def close(self) -> None:
        """Nothing runs any more."""
        self._door.close()
        for _, until in self._running.values():
            until.close()
        self._folder.cleanup()


def _plan(server: Any, folder: Path, *, endless: bool) -> box.Plan:
    """The box for the settings of a llama-server; what has no counterpart is left out."""
    slots = server.n_slots or 4
    weights = model_files.endless(WEIGHTS, folder) if endless else WEIGHTS
    task: Task = "text"
    template = server.chat_template
    if server.chat_template_file:
        template = Path(server.chat_template_file).read_text()
    if template:
        text = model_files.BUILT_IN.get(template, template)
        weights = model_files.with_template(WEIGHTS, folder, text)
    if server.server_embeddings:
        weights, task = model_files.encoder(folder, server.pooling or "cls"), "embedding"
    elif server.server_reranking:
        weights, task = model_files.encoder(folder, "rank"), "reranking"
    return box.Plan(
        task=task,
        weights=weights,
        service=(server.model_alias or "model"),
        context_tokens=min((server.n_ctx or 4096) // (1 if server.kv_unified else slots), 2048),
        sequences=slots,
        max_tokens=server.n_predict if (server.n_predict or -1) > 0 else 256,
        temperature=server.temperature,
        seed=server.seed,
        origins=_LOCAL if server.cors_origins else (),
    )


_boxes: Final = Boxes()
_outcomes: Final = Path(os.environ["PADDOCK_OUTCOMES"])
utils.ServerProcess.server_port = home_fixtures.free_port()
utils.ServerProcess.start = lambda server, timeout_seconds=0: _boxes.start(server)  # noqa: ARG005
utils.ServerProcess.stop = lambda _: _boxes.stop()


@pytest.fixture(autouse=True)
def _stopped() -> Iterator[None]:
    """As their conftest does."""
    yield
    _boxes.stop()


class AnyOf:
    """Equal to every value of a set, or of a type."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, *values: object) -> None:
        self._values = values

    def __eq__(self, other: object) -> bool:
        """Whether it is one of them."""
        return other in self._values or any(
            isinstance(each, type) and isinstance(other, each) for each in self._values
        )


_OTHERS: Final = {
    "n_prompt": AnyOf(int), "n_predicted": AnyOf(int), "n_tokens": AnyOf(int),
    "finish_reason": AnyOf("stop", "length"),
}  # fmt: skip
"""What the cases of a test expect of its own model, and any model may answer."""


@pytest.fixture(autouse=True)
def _texts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What only another model says is not compared where the table says so."""
    entry = _TABLE.of(request.node.nodeid)
    _boxes.endless = entry.endless
    if entry.other_model:
        monkeypatch.setattr(request.module, "match_regex", lambda _, text: isinstance(text, str))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what the table does not run; expect of our model what any may answer."""
    for item in items:
        entry = _TABLE.of(item.nodeid)
        if entry.outcome == "not run":
            item.add_marker(pytest.mark.skip(reason=entry.why))
        elif entry.other_model and (case := getattr(item, "callspec", None)) is not None:
            case.params.update({name: _OTHERS[name] for name in _OTHERS.keys() & case.params})


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: Any
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep how it ended, and what it said if it failed."""
    report = yield
    if report.when == "call" or report.outcome != "passed":
        said = str(call.excinfo.value) if call.excinfo else ""
        ended = {"test": item.nodeid, "outcome": report.outcome, "said": said}
        with _outcomes.open("a") as file:
            file.write(json.dumps(ended) + "\n")
    return report


def pytest_sessionfinish() -> None:
    """Stop the boxes."""
    _boxes.close()
