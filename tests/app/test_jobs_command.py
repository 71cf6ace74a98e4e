"""`paddock jobs` and `models add` without a node: what is shown, and what each exit says."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from storage import job_attempts, job_logs, jobs
from storage.home.paths import Home
from storage.jobs import Progress
from storage.store import Session, Store
from tests import paddock_commands
from tests.app import populated_homes


async def scene(store: Store) -> None:
    """A job that downloads, one that waits."""

    async def work(s: Session) -> None:
        for target in ("llama@3.2.0", "x@1.0.0"):
            await jobs.add(
                s, kind="add_model", target=target, arguments={}, actor="sara",
                at_us=populated_homes.NOW_US,
            )  # fmt: skip
        await job_attempts.start(s, 1, at_us=populated_homes.NOW_US)
        await job_attempts.take(
            s, 1, pid=9, steps=["resolve", "fetch"], at_us=populated_homes.NOW_US
        )
        await job_attempts.begin_step(s, 1, 1, "resolve", at_us=populated_homes.NOW_US)
        await job_attempts.end_step(s, 1, 1, "resolve", {}, at_us=populated_homes.NOW_US + 120_000)
        await job_attempts.begin_step(s, 1, 1, "fetch", at_us=populated_homes.NOW_US)
        counted = Progress(done=1_500_000, total=2_000_000, unit="B", rate_per_s=50_000)
        await job_attempts.beat(s, 1, 1, at_us=populated_homes.NOW_US, progress=counted)
        await job_logs.append(
            s, 1, [(populated_homes.NOW_US, f"line {n}\x1b[2J") for n in range(3)]
        )

    await store.write(work)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A box whose node is down."""
    return populated_homes.make(tmp_path_factory.mktemp("box") / "home", scene)


def run(home: Home, *words: str) -> subprocess.CompletedProcess[str]:
    """One command, to its end."""
    return paddock_commands.run(*words, environment={**os.environ, "PADDOCK_HOME": str(home.root)})


def test_the_list_has_state_step_and_the_time_that_is_left(home: Home) -> None:
    """Newest at the bottom; JSON has the figures themselves."""
    rows = run(home, "jobs", "list").stdout.splitlines()
    assert rows[1].split() == [
        "1", "add_model", "llama@3.2.0", "running", "fetch", "1.50", "MB", "of", "2.00", "MB",
        "10.0", "s", "sara",
    ]  # fmt: skip
    assert rows[2].split()[:5] == ["2", "add_model", "x@1.0.0", "queued", "–"]
    first = json.loads(run(home, "jobs", "list", "--json").stdout)[0]
    assert first["progress"] == {
        "done": 1_500_000, "total": 2_000_000, "unit": "B", "rate_per_s": 50_000,
    }  # fmt: skip


def test_a_job_is_shown_with_its_steps(home: Home) -> None:
    """Which are done, which runs, how far it is."""
    said = run(home, "jobs", "show", "1").stdout
    assert "step 1   resolve: done in 120 ms" in said
    assert "step 2   fetch: running" in said
    assert "rate     50.0 kB/s" in said
    assert json.loads(run(home, "jobs", "show", "1", "--json").stdout)["job"]["state"] == "running"


def test_a_log_is_printed_with_its_controls_made_visible(home: Home) -> None:
    """What a server or a file wrote does not reach the terminal raw."""
    lines = run(home, "jobs", "logs", "1").stdout.splitlines()
    assert [line.split("  ")[1] for line in lines] == [f"line {n}␛[2J" for n in range(3)]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("jobs", "show", "9"), 1, "There is no job 9; known: 2, 1."),
        (("jobs", "cancel", "1"), 3, "start it with `paddock serve`"),
        (("jobs", "retry", "1"), 3, "start it with `paddock serve`"),
        (("models", "add", "x.gguf", "--name", "x", "--version", "1"), 1, "did you mean 1.0.0?"),
        (("models", "add", "x.gguf", "--name", "x", "--version", "v1.0"), 1, "'v1.0' is not a sem"),
    ],
)
def test_what_cannot_be_done_says_what_to_do(
    home: Home, words: tuple[str, ...], code: int, said: str
) -> None:
    """In a sentence on standard error."""
    done = run(home, *words)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr


def test_the_query_of_an_address_that_was_not_accepted_is_not_kept(home: Home) -> None:
    """It may be a token; without a node nothing refers to it."""
    source = "https://example.com/m.gguf?token=t0ps3cret"
    done = run(home, "models", "add", source, "--name", "x", "--version", "1.0.0")
    assert done.returncode != 0
    assert "t0ps3cret" not in done.stdout + done.stderr
    assert list(home.secrets.glob("*.secret")) == []


def test_an_address_with_a_space_in_its_query_is_refused_as_such(home: Home) -> None:
    """The sentence speaks of the address, which may have been cut in two by the shell."""
    source = "https://example.com/m.gguf?a=1 2"
    done = run(home, "models", "add", source, "--name", "x", "--version", "1.0.0")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("The query of an address is one line of 1 to 8192 printable")
