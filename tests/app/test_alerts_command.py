"""`paddock alerts` of a box whose node is down: what is shown, and what is refused unasked."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from pathlib import Path

import pytest

from app import errors, receiver_address
from storage import errors as storage_errors
from storage import notifications, receivers, silences
from storage.home.paths import Home
from storage.store import Session
from tests import paddock_commands
from tests.engine.control.alerts import boxes


async def _scene(root: Path) -> None:
    """An alert that fires, one silence, and a receiver that has not been told."""
    async with boxes.made(root) as box:
        await box.serve(8, ok=10, failed=10)
        now = box.second * boxes.SECOND_US

        async def work(s: Session) -> None:
            await silences.add(
                s, matchers=["service=other"], starts_at_us=now, ends_at_us=now + 10**12,
                comment="load test", actor="kim", at_us=now,
            )  # fmt: skip
            await receivers.add(
                s, name="ops", kind=receivers.Kind.WEBHOOK, shown="https://h/…", secret="0" * 32,
                signing=None, matchers=(), group_by=(), group_wait_s=0, group_interval_s=1,
                repeat_interval_s=60, send_resolved=True, actor="kim", at_us=now, intent_id=None,
            )  # fmt: skip
            await notifications.queue(
                s, receiver="ops", group_key="k", status="firing", title="[FIRING] errors",
                text="x", body="{}", at_us=now,
            )  # fmt: skip

        await box.store.write(work)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A box whose node is down."""
    root = tmp_path_factory.mktemp("box") / "home"
    asyncio.run(_scene(root))
    return Home(root)


def run(home: Home, *words: str) -> subprocess.CompletedProcess[str]:
    """One command, to its end."""
    return paddock_commands.run(*words, environment={**os.environ, "PADDOCK_HOME": str(home.root)})


def test_lists_have_what_fires_who_is_told_and_what_is_silenced(home: Home) -> None:
    """As text, and as documents without references to secrets."""
    (alert,) = json.loads(run(home, "alerts", "list", "--json").stdout)
    assert (alert["rule"], alert["state"], alert["muted"]) == ("errors", "firing", None)
    assert "support fails 50%" in run(home, "alerts", "list").stdout
    shown = run(home, "alerts", "get", "1").stdout
    assert "firing: the expression held for as long as the rule asks" in shown
    (receiver,) = json.loads(run(home, "alerts", "receivers", "list", "--json").stdout)
    assert (receiver["undelivered"]["waiting"], "secret" in receiver) == (1, False)
    assert "1 undelivered" in run(home, "alerts", "receivers", "list").stdout
    assert "[FIRING] errors" in run(home, "alerts", "notifications").stdout
    assert 'service="other"' in run(home, "alerts", "silences", "--ended").stdout


def test_rules_show_how_each_fared(home: Home) -> None:
    """Beside its expression."""
    (rule,) = json.loads(run(home, "alerts", "rules", "list", "--json").stdout)
    assert (rule["name"], rule["health"]["outcome"]) == ("errors", "measured")
    assert "# version 1: set by sara" in run(home, "alerts", "rules", "show", "errors").stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("silence", "service=a", "--reason", "x"), "--for 2h"),
        (("silence", "service=a", "--for", "2h"), "--reason"),
        (("silence", "service=a", "--for", "2 hours", "--reason", "x"), "not a duration"),
        (("receivers", "add", "x", "--url-file", "/no/such"), "cannot be read"),
    ],
)
def test_what_lacks_an_end_or_a_reason_is_refused(
    home: Home, words: tuple[str, ...], said: str
) -> None:
    """Before anything is asked of the node."""
    done = run(home, "alerts", *words)
    assert done.returncode in {1, 2}
    assert said in done.stderr


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("slakc://secret-a/secret-b", "did you mean slack://"),
        ("foo-9://secret", "among others it knows discord://"),
        ("slack://", "a part of it is missing or malformed; see https://appriseit.com/"),
        ("http://169.254.169.254/secret", "metadata service"),
        ("secret", "begins with a scheme"),
    ],
)
def test_an_address_that_no_notification_can_reach_is_refused(
    url: str, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """When it is added, not at the first alert; it is not repeated, for it holds tokens."""
    with pytest.raises((errors.BadWord, storage_errors.Invalid)) as refused:
        receiver_address.check(url)
    assert said in str(refused.value)
    assert "secret" not in str(refused.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("url", ["https://h.example/x", "json://h.example/x", "ntfy://topic"])
def test_an_address_that_can_be_notified_is_taken(url: str) -> None:
    """A webhook, and services of apprise, which lists its own."""
    receiver_address.check(url)
    assert {"json", "ntfy"} < set(receiver_address.schemes())
