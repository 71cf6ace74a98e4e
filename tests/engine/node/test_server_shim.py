"""The shim of a supervised server: it reports for a program that does not know the node."""

from __future__ import annotations

import shutil
import signal
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from engine.node.server_process import VARIABLE
from engine.process import address
from engine.process.address import Address, Lease
from tests.engine.node.shims import TINY, shim


def test_a_server_becomes_ready_where_its_port_was_filled_in(tmp_path: Path) -> None:
    """Its address is published once it is healthy; its environment holds no orders of the node."""
    extra = {"WHERE": "{host}:{port}"}
    with shim(tmp_path, environment=extra) as one:
        found = one.ready()
        environment = httpx.get(f"{found.root}/environment").json()
        assert environment["WHERE"] == f"127.0.0.1:{found.port}"
        assert VARIABLE not in environment
        beat = one.said("beat")
        assert (beat["running"], beat["step"] > 0) == (0, True)


def test_a_server_that_drains_takes_nothing_new_and_ends_what_it_has(tmp_path: Path) -> None:
    """The address goes first; the server goes when the last lease is given back."""
    with shim(tmp_path) as one:
        found = one.ready()
        server, lease = one.server(), Lease(one.published)
        assert one.said("beat")["running"] in {0, 1}
        one.process.send_signal(signal.SIGTERM)
        while one.published.exists():
            assert one.said("beat")
        assert address.read(one.published) is None
        with pytest.raises(FileNotFoundError):
            Lease(one.published)
        assert one.said("beat")["running"] == 1
        assert httpx.get(f"{found.root}/health").status_code == 200
        lease.close()
        assert one.process.wait(60) == 0
        assert not server.is_running()


def test_a_server_that_exits_fails_the_shim(tmp_path: Path) -> None:
    """The node learns how it ended, and requests are no longer routed there."""
    with shim(tmp_path) as one:
        found = one.ready()
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"{found.root}/exit")
        assert "exited with code 3" in one.said("failed")["failed"]
        assert one.process.wait(60) == 1
        assert address.read(one.published) is None


def test_a_server_that_stops_answering_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    """A hung server may hold a GPU's memory in a child process."""
    with shim(tmp_path, silent_s=0.2, probe_s=2.0) as one:
        found = one.ready()
        child = psutil.Process(int(httpx.get(f"{found.root}/child").text))
        httpx.get(f"{found.root}/hang")
        assert "has not answered 200" in one.said("failed")["failed"]
        assert one.process.wait(60) == 1
        psutil.wait_procs([child], timeout=60)
        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_a_shim_tells_since_when_its_server_has_not_answered(tmp_path: Path) -> None:
    """Its own heartbeats continue; they stop saying so once the server answers again."""
    with shim(tmp_path, probe_s=0.5) as one:
        one.ready()
        server = one.server()
        server.suspend()
        while not (beat := one.said("beat"))["unanswered_us"]:
            assert beat["running"] == 0
        assert beat["unanswered_us"] > 1_500_000
        server.resume()
        while one.said("beat")["unanswered_us"]:
            continue


def test_a_server_that_is_stopped_leaves_no_daemon_behind(tmp_path: Path) -> None:
    """A child in a new session is in no group that could be killed."""
    with shim(tmp_path) as one:
        daemon = psutil.Process(int(httpx.get(f"{one.ready().root}/daemon").text))
        one.process.terminate()
        assert one.process.wait(60) == 0
        _, alive = psutil.wait_procs([daemon], timeout=60)
    assert alive == []


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["/nowhere/vllm", "serve", "{port}"], "/nowhere/vllm cannot be started: no such file"),
        ([*TINY, "never"], "/health did not answer 200 within 0.5 s"),
        ([sys.executable, "-c", "raise SystemExit(7)"], "exited with code 7"),
    ],
)
def test_a_server_that_does_not_start_says_why(
    tmp_path: Path, command: list[str], said: str
) -> None:
    """Not found, never healthy, gone at once."""
    with shim(tmp_path, command, start_s=0.5) as one:
        assert said in one.said("failed")["failed"]
        assert one.process.wait(60) == 1
        assert address.read(one.published) is None


def test_a_shim_that_is_killed_takes_its_server_along(tmp_path: Path) -> None:
    """What it leaves behind is no address: the port may be another program's soon."""
    with shim(tmp_path) as one:
        one.ready()
        server = one.server()
        one.process.kill()
        one.process.wait()
        psutil.wait_procs([server], timeout=60)
        assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE
        assert one.published.exists()
        assert address.read(one.published) is None


def leased(published: address.Published) -> bool:
    """Whether anyone has a lease now."""
    return published.leased


def test_a_lease_is_seen_and_given_back_by_the_kernel(tmp_path: Path) -> None:
    """However many there are, and also when their holder dies."""
    path = tmp_path / "server-x:1.json"
    published = address.Published(path, Address(1, "/health"))
    first, second = Lease(path), Lease(path)
    first.close()
    assert leased(published) is True
    second.close()
    assert leased(published) is False
    again = address.Published(tmp_path / "server-y:1.json", Address(2, "/"))
    published.withdraw()
    again.withdraw()
    with pytest.raises(FileNotFoundError):
        Lease(path)


def test_a_shim_that_is_killed_takes_all_that_its_server_started_along(tmp_path: Path) -> None:
    """So does the death of the node, which kills the shim: a GPU's memory has to be free again."""
    with shim(tmp_path) as one:
        found = one.ready()
        child = psutil.Process(int(httpx.get(f"{found.root}/child").text))
        one.process.kill()
        psutil.wait_procs([child], timeout=60)
        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_a_removed_address_is_published_again(tmp_path: Path) -> None:
    """With its directory; a lease on the file that was removed still counts."""
    path = tmp_path / "run" / "server-x:1.json"
    path.parent.mkdir()
    published = address.Published(path, Address(7, "/health"))
    lease = Lease(path)
    for folder in (False, True):
        shutil.rmtree(path.parent) if folder else path.unlink()
        assert address.read(path) is None
        published.keep()
        assert address.read(path) == Address(7, "/health")
        assert leased(published) is True
    lease.close()
    assert leased(published) is False
    published.withdraw()
    assert address.read(path) is None
