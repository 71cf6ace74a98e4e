"""Every command that only reads can show a past moment, or it is written here why it cannot."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from app import cli
from app import errors as app_errors
from app.commands import (
    ab_tests,
    alert_receivers,
    alert_rules,
    alert_silences,
    alerts,
    deployments,
    intents,
    jobs,
    keys,
    model_lineage,
    models,
    post_mortems,
    prices,
    prompts,
    quarantine,
    releases,
    replays,
    requests,
    rollouts,
    run_decisions,
    runbooks,
    samples,
    scoring,
    upstreams,
)
from storage import errors
from storage.home import clock
from storage.home.paths import Home
from tests.app.populated_homes import NOW_US

ACTING: Final = frozenset({
    "serve", "demo", "drill", "prompts export", "runbooks confirm", "runbooks note",
    "incidents open", "incidents note", "incidents assign", "incidents write",
    "incidents items add", "incidents items done",
})  # fmt: skip
"""Commands that change something and take no `--reason`."""

OF_NOW: Final = {
    "doctor": "it examines the box as it is",
    "diff": "it compares a file with what applying it would change now",
    "export": "its manifest is for applying; `services show --at` shows a past moment",
    "alerts rules check": "it reads a file",
    "alerts rules diff": "it compares a file with what setting it would change now",
    "alerts series": "what this version exports",
    "alerts receivers services": "what this version can notify",
    "alerts receivers list": "of a removed receiver only its address is recorded: see the ledger",
    "prompts diff": "versions never change",
    "prompts preview": "versions never change; tokens are counted by a model that is loaded",
    "releases diff": "releases never change",
    "rollouts plan": "what a rollout would find from now on",
    "measures export": "it takes --from and --to",
    "incidents changes": "it takes --from and --to",
    "incidents post-mortem": "a document that is written afterwards; see `incidents show --at`",
    "runbooks list": "runbooks are files",
    "runbooks show": "runbooks are files",
    "runbooks lint": "runbooks are files",
    "runbooks schema": "what this version reads",
    "runbooks preview": "what each step would do now",
    "ledger verify": "it checks the whole ledger",
}
"""Commands that only read and take no `--at`, with the reason."""


def _commands(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, set[str]]]:
    nested = getattr(command, "commands", None)
    if nested is None:
        yield " ".join(path), {name for each in command.params for name in each.opts}
        return
    for name, each in nested.items():
        yield from _commands(each, (*path, name))


def test_a_command_that_reads_takes_a_moment_or_says_why_not() -> None:
    """Commands that change something take a reason, or are named above."""
    reading = {}
    for name, (module, help) in cli.COMMANDS.items():
        for path, options in _commands(cli.load(module, name, help), (name,)):
            if "--reason" not in options and path not in ACTING:
                reading[path] = "--at" in options
    assert {path for path, takes in reading.items() if not takes} == OF_NOW.keys()
    assert len(reading) > 60


@pytest.fixture
def box(busy_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A busy box of the test's own."""
    home = Home(tmp_path / "home")
    shutil.copytree(busy_home.root, home.root)
    monkeypatch.setenv("PADDOCK_HOME", str(home.root))
    monkeypatch.setattr(clock, "now_us", lambda: NOW_US)
    return home


SAME: Final[tuple[tuple[Any, dict[str, Any]], ...]] = (
    (models.show, {"name": "ops"}),
    (model_lineage.tree, {}),
    (prompts.show, {"name": "terse@1"}),
    (releases.every, {}),
    (releases.show, {"name": "r1"}),
    (replays.every, {}),
    (intents.show, {"id": 1}),
    (keys.every, {}),
    (keys.show, {"name": "shop"}),
    (quarantine.every, {}),
    (upstreams.every, {}),
    (prices.every, {}),
    (scoring.show, {}),
    (post_mortems.open_items, {}),
    (alert_silences.every, {}),
    (alert_receivers.sent, {}),
    (runbooks.tail, {}),
)  # fmt: skip


@pytest.mark.usefixtures("box")
async def test_a_minute_ago_there_was_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing happened in the last minute of this box but requests and samples."""
    for show, arguments in SAME:
        await show(**arguments, at="1m", as_json=True)
        then = json.loads(capsys.readouterr().out)
        await show(**arguments, as_json=True)
        now = json.loads(capsys.readouterr().out)
        if show is models.show:
            assert then.pop("loaded") == []  # not recorded
            del now["loaded"]
        assert (show.__module__, then) == (show.__module__, now)


@pytest.mark.usefixtures("box")
async def test_what_was_measured_ends_at_the_moment(capsys: pytest.CaptureFixture[str]) -> None:
    """Samples and sums of a past moment; instances of then without their processes."""
    at = "2025-03-14 03:05:00"
    await samples.tail(at=at, as_json=True)
    seconds = [each["second"] for each in json.loads(capsys.readouterr().out)]
    assert max(seconds) <= NOW_US // 1_000_000 - 427
    counts = []
    for moment in ("2m", "1m", None):
        await samples.total(last="10m", at=moment, as_json=True)
        (arm, *_) = json.loads(capsys.readouterr().out).values()
        counts.append(arm["requests"])
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]
    await deployments.show("ops", at=at, as_json=True)
    view = json.loads(capsys.readouterr().out)
    assert [each["state"] for each in view["instances"]] == ["ready"]
    assert view["proofs"] == []
    await alert_rules.every(at=at, as_json=True)
    assert {each["health"] for each in json.loads(capsys.readouterr().out)} == {None}


@pytest.mark.usefixtures("box")
async def test_what_was_not_there_yet_is_not_found() -> None:
    """Before their beginning there were no releases, keys, requests, rollouts and tests."""
    at = "1971-01-01 00:00"
    with pytest.raises(errors.NotFound, match="had not ended then"):
        await requests.show(f"req_{1:024x}", at=at)
    with pytest.raises(errors.NotFound, match="had no rollout at that time"):
        await rollouts.status("support", at=at)
    with pytest.raises(errors.NotFound, match="had no A/B test at that time"):
        await ab_tests.units("support", at=at)
    with pytest.raises(errors.NotFound, match="There is no deployment"):
        await deployments.show("vllm", at=at)


@pytest.mark.usefixtures("box")
async def test_the_past_is_not_followed() -> None:
    """Each command that waits says which option to leave out."""
    with pytest.raises(app_errors.BadWord, match="leave --follow out"):
        await jobs.logs(1, follow=True, at="1m")
    with pytest.raises(app_errors.BadWord, match="leave --watch out"):
        await run_decisions.get(1, watch=True, at="1m")
    with pytest.raises(app_errors.BadWord, match="leave --timeout out"):
        await rollouts.status("support", within="1m", at="1m")
    with pytest.raises(app_errors.BadWord, match="leave --ended out"):
        await alert_silences.every(ended=True, at="1m")
    with pytest.raises(errors.NotFound):
        await alerts.get(1, at="1m")
