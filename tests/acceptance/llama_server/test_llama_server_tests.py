"""llama.cpp's server tests end against a gateway as `outcomes.toml` says, each of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.acceptance.llama_server import table
from tests.bench import peers
from tests.engine.gateway import peer_servers
from tests.watchdogs import Watchdog

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]

ROOT: Final = Path(__file__).parents[3]
OUTCOMES: Final = {"passes": "passed", "differs": "failed", "not run": "skipped"}


class Ended(NamedTuple):
    """How a test ended, and what it said if it failed."""

    outcome: str
    said: str


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    """Every test that needs no large model, run once, in the folder of the sdist where they are."""
    peer_servers.built()
    theirs = "source/llama_cpp_python-*/vendor/llama.cpp/tools/server/tests"
    folder = next(peers.cache().glob(theirs))
    written = tmp_path_factory.mktemp("llama-server") / "outcomes.jsonl"
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-m", "not slow", "--noconftest"),
        *("-p", "tests.acceptance.llama_server.plugin", "-p", "no:cacheprovider", "-p", "no:xdist"),
        *(str(path.relative_to(folder)) for path in sorted(folder.glob("unit/test_*.py"))),
    ]
    environment = os.environ | {
        "PADDOCK_OUTCOMES": str(written),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(ROOT),
    }
    with written.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        watchdog = Watchdog(process.pid)
        process.wait()
        watchdog.release()
    return {
        line["test"]: Ended(line["outcome"], line["said"])
        for line in map(json.loads, written.read_text().splitlines())
    }


def test_each_ends_as_the_table_says(ended: dict[str, Ended]) -> None:
    """It passes, differs at the assertion that the table names, or is not run."""
    outcomes = table.read()
    found = {}
    for test, (outcome, said) in ended.items():
        entry = outcomes.of(test)
        if outcome != OUTCOMES[entry.outcome] or entry.at not in said:
            found[test] = f"{outcome}, not {entry.outcome}: {said[:500]}"
    assert found == {}


def test_the_table_names_tests_that_there_are(ended: dict[str, Ended]) -> None:
    """An entry that no test has any more says nothing."""
    names = {test.removeprefix("unit/") for test in ended}
    names |= {name.partition("[")[0] for name in names}
    names |= {name.partition("::")[0] for name in names}
    assert table.read().entries.keys() - names == set()


def test_what_differs_says_why(ended: dict[str, Ended]) -> None:
    """Whatever does not pass has its reason, and what differs the place."""
    del ended
    for name, entry in table.read().entries.items():
        assert entry.outcome == "passes" or entry.why, name
        assert entry.outcome != "differs" or entry.at, name
