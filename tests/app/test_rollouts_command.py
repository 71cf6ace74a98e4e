"""`paddock rollouts` without a node: what is shown, what is refused before it is asked for."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from pathlib import Path

import pytest

from storage.home.paths import Home
from storage.requests import Class
from tests import paddock_commands
from tests.engine.control.rollouts import worlds
from tests.engine.control.rollouts.worlds import CANDIDATE

BAD = 2
KEY = "c" * 32
"""Of the service, as it is referred to."""


async def _scene(root: Path) -> None:
    """A canary that was aborted for harm, and retried, and waits for evidence now."""
    async with worlds.made(root) as world:
        await world.ask("services.set", webhook_secret=KEY)
        await world.start()
        await world.load(CANDIDATE)
        for failed in (40, 0):
            await world.settle()
            await world.smoke()
            await world.settle()
            world.wait(10)
            await world.serve(100, failed=failed)
            await world.serve(7, class_=Class.BACKGROUND)
            await world.settle()
            if failed:
                await world.ask("rollouts.retry", rollout=1)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A box whose node is down."""
    root = tmp_path_factory.mktemp("box") / "home"
    asyncio.run(_scene(root))
    return Home(root)


async def _shadow(root: Path) -> None:
    """A shadow that has compared some copies."""
    async with worlds.made(root) as world:
        await world.start(strategy="shadow")
        await world.load(CANDIDATE)
        await world.settle()
        await world.smoke()
        await world.settle()
        await world.mirror(40, failed=1, differing=4, times_slower=2)
        world.wait(10)
        await world.settle()


def run(home: Home, *words: str) -> subprocess.CompletedProcess[str]:
    """One command, to its end."""
    return paddock_commands.run(*words, environment={**os.environ, "PADDOCK_HOME": str(home.root)})


def test_the_tree_has_arms_steps_guards_and_what_it_waits_for(home: Home) -> None:
    """Set beside actual, each guard with its counts, interval and e-values; within 80 columns."""
    lines = run(home, "rollouts", "get", "support").stdout.splitlines()
    assert lines[0] == "support  rollout 1  revision 1  canary  Progressing  attempt 2"
    assert "│  r2  candidate  set 5 %   actual –  0 requests" in lines
    assert "│  ✔  1  5 %" in lines
    assert lines[6].startswith("│  ▶  2  analysis of at most 1 h  since ")
    (errors,) = [line for line in lines if line.startswith("│  error_rate<=1%")]
    assert errors.split() == [
        "│", "error_rate<=1%", "running", "0", "of", "100", "0", "%", "0–5.7", "%", "0.16",
        "2.7", "199",
    ]  # fmt: skip
    assert max(map(len, lines[:-1])) <= 80
    assert lines[-1].startswith(
        "└─ stepping: error_rate<=1% needs 199 more without an event. Until "
    )


def test_the_tree_as_json_has_the_records(home: Home) -> None:
    """The rollout, its arms, its looks, its moves."""
    document = json.loads(run(home, "rollouts", "get", "support", "--json").stdout)
    assert document["phase"] == "Progressing"
    assert document["waiting"]["for"] == "evidence"
    assert [look["n"] for look in document["looks"]][:2] == [100, 100]
    whys = [event["why"] for event in document["events"]]
    assert whys == ["started", "loaded", "smoked", "next", "harm", "retried", *whys[1:4]]


def test_json_says_whether_messages_are_signed_and_not_by_which_key(home: Home) -> None:
    """The reference leads to a file of secrets."""
    for words in (
        ("services", "list"),
        ("services", "show", "support"),
        ("rollouts", "list"),
        ("rollouts", "get", "support"),
    ):
        said = run(home, *words, "--json").stdout
        assert '"webhooks_signed": true' in said, words
        assert KEY not in said


def test_status_exits_0_only_when_the_candidate_has_the_traffic(home: Home) -> None:
    """4 while it is under way, and 1 where a service has had no rollout."""
    done = run(home, "rollouts", "status", "support")
    assert done.returncode == 4
    assert done.stdout.startswith("Progressing: ")
    missing = run(home, "rollouts", "status", "other")
    assert missing.returncode == 1
    assert "other has had no rollout; start one with" in missing.stderr


def test_a_dry_run_shows_the_steps_and_the_guards(home: Home, tmp_path: Path) -> None:
    """Of a file, over which options win; nothing is asked of the node, which is down."""
    file = tmp_path / "rollout.toml"
    file.write_text('to = "r2"\nsteps = ["10", "pause 10m", "100"]\nguards = ["error_rate<=2%"]\n')
    done = run(home, "rollouts", "start", "support", "-f", str(file), "--dry-run")
    assert done.stdout.splitlines() == [
        "steps", "  1. 10 %", "  2. pause of 10 min", "  3. analysis of at most 1 h",
        "  4. 100 %", "  5. analysis of at most 1 h", "guards", "  error_rate<=2%",
    ]  # fmt: skip
    won = run(
        home, "rollouts", "start", "support", "-f", str(file), "--dry-run", "--json",
        "--guard", "ttft_p99<=1s",
    )  # fmt: skip
    (guard,) = json.loads(won.stdout)["guards"]
    assert (guard["measure"], guard["allowed_bp"], guard["limit_us"]) == ("ttft", 100, 1_000_000)


def test_webhooks_are_steps_that_a_dry_run_lists_with_the_addresses_that_are_notified(
    home: Home,
) -> None:
    """Before each weight of the default canary."""
    gate, news = "https://ci.example/gate", "https://chat.example/room"
    done = run(
        home, "rollouts", "start", "support", "--to", "r2", "--dry-run", "--ask-before",
        f"{gate} 5m", "--notify", news,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert lines[1:3] == [f"  1. webhook {gate}, at most 5 min", "  2. 5 %"]
    assert sum(gate in line for line in lines) == 3
    assert lines[-2:] == ["notify", f"  {news}"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "Name the candidate with --to"),
        (("--to", "r2", "--steps", "5, 50"), "The last weight of a rollout is 100 %, not 50 %."),
        (("--to", "r2", "--steps", "soon"), "'soon' is not a step"),
        (("--to", "r2", "--guard", "speed"), "'speed' is not a guard"),
        (("--to", "r2", "--load-timeout", "never"), "'never' is not a duration"),
        (("-f", "/nowhere.toml"), "/nowhere.toml cannot be read"),
        (
            ("--to", "r2", "--ask-before", "ftp://host"),
            "'ftp://host' is not the address of a webhook",
        ),
        (("--to", "r2", "--notify", "https://me:x@host"), "holds a password; sign the requests"),
    ],
)
def test_what_cannot_be_read_exits_2(home: Home, words: tuple[str, ...], said: str) -> None:
    """With what is allowed."""
    done = run(home, "rollouts", "start", "support", *words)
    assert (done.returncode, done.stdout) == (BAD, "")
    assert said in done.stderr


def test_a_verb_without_the_node_says_that_it_is_down(home: Home) -> None:
    """After the question, so that nothing looks done."""
    done = run(home, "rollouts", "abort", "support", "--yes")
    assert done.returncode == 3
    assert "is not running; start it with `paddock serve`" in done.stderr


def test_the_tree_of_a_shadow_has_the_candidates_figures_beside_stables(tmp_path: Path) -> None:
    """How many copies, how far they agree, and the times of both, within 80 columns."""
    asyncio.run(_shadow(tmp_path / "home"))
    home = Home(tmp_path / "home")
    lines = run(home, "rollouts", "get", "support").stdout.splitlines()
    assert lines[0] == "support  rollout 1  revision 1  shadow  Progressing"
    at = lines.index("├─ shadow")
    assert lines[at + 1] == "│  40 copies compared, 1 failed"
    assert lines[at + 2] == "│  agreement 77–96 %  F1 0.85  exact 0 %  length ×1.20"
    assert lines[at + 3] == "│  stable's answers were not scored (a server scores no chats)"
    assert [line.split() for line in lines[at + 4 : at + 7]] == [
        ["│", "TOKENS", "P50", "P95", "TTFT", "P95"],
        ["│", "r1", "10.0", "200", "ms", "200", "ms", "10", "ms"],
        ["│", "r2", "12.0", "400", "ms", "400", "ms", "10", "ms"],
    ]
    assert max(map(len, lines[:-1])) <= 80
    assert "260 more copies have to be compared" in lines[-1]
    document = json.loads(run(home, "rollouts", "get", "support", "--json").stdout)
    assert (document["shadow"]["copies"], document["shadow"]["failed"]) == (40, 1)
    assert document["shadow"]["candidate"]["p95_us"] == 400_000


def test_a_shadow_goes_on_by_itself_if_it_is_told_how(home: Home) -> None:
    """The canary's steps follow the mirror, without a pause between them."""
    shadow = ("rollouts", "start", "support", "--to", "r2", "--strategy", "shadow", "--dry-run")
    alone = run(home, *shadow).stdout.splitlines()
    assert alone[1] == "  1. mirror 10 %, 300+ copies, at most 1 d"
    assert alone[2] == "  2. pause until promoted"
    further = run(home, *shadow, "--then", "canary", "--steps", "mirror 50% 20").stdout.splitlines()
    assert further[1:4] == [
        "  1. mirror 50 %, 20+ copies, at most 1 d",
        "  2. 5 %",
        "  3. analysis of at most 1 h",
    ]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--then", "canary"), "Only a shadow continues"),
        (
            ("--strategy", "shadow", "--then", "shadow"),
            "A shadow continues as blue_green or canary",
        ),
        (("--strategy", "shadow", "--steps", "5, 100"), "The first step of a shadow is a mirror"),
        (("--guard", "agreement>=80%"), "agreement>=80% compares copies"),
    ],
)
def test_what_only_a_shadow_has_is_refused_elsewhere(
    home: Home, more: tuple[str, ...], said: str
) -> None:
    """Before anything is asked for."""
    done = run(home, "rollouts", "start", "support", "--to", "r2", "--dry-run", *more)
    assert done.returncode == BAD
    assert said in done.stderr
