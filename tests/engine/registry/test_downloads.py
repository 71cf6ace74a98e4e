"""Downloads against a real server: resumed, verified, never mixed, and errors that say why."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.registry import disk_room, downloads, server_requests, server_responses, sources
from engine.registry.downloads import Download, Known
from engine.registry.sources import Remote
from tests.engine.registry import hub as hubs
from tests.engine.registry.hub import Hub

CONTENT = b"GGUF" + os.urandom(300_000)


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A server with one file."""
    with hubs.serving(Hub(CONTENT)) as served:
        yield served


async def fetch(source: Remote, download: Download, **changes: Any) -> Known:
    """One call, that is one attempt."""
    said: list[str] = changes.pop("said", [])
    async with server_requests.client() as http:
        return await downloads.fetch(
            http, source, download, progress=lambda *_: None, log=said.append, **changes
        )


def plain(hub: Hub) -> Remote:
    """The file at a plain address."""
    source = sources.parse(f"{hub.address}/plain/tiny.gguf")
    assert isinstance(source, Remote)
    return source


def on_the_hub(hub: Hub, address: str = "hf://acme/tiny/tiny.gguf", **settings: str) -> sources.Hub:
    """The file of the repository."""
    source = sources.parse(address, {"HF_ENDPOINT": hub.address, **settings})
    assert isinstance(source, sources.Hub)
    return source


async def test_a_file_of_the_hub_arrives_as_of_one_commit(hub: Hub, tmp_path: Path) -> None:
    """Size, SHA-256 and commit are known before the first byte; the token meets the Hub alone."""
    hub.token = "hf_secret"  # noqa: S105 not a secret
    source = on_the_hub(hub, HF_TOKEN="hf_secret")  # noqa: S106
    async with server_requests.client() as http:
        known = await downloads.look_up(http, source)
    assert known.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert (known.size_bytes, known.commit) == (len(CONTENT), hubs.COMMIT)
    remote = Remote(known.url, "tiny.gguf", source.authorization)
    download = Download(tmp_path)
    await fetch(remote, download, expected=known)
    assert download.part.read_bytes() == CONTENT
    sent = hub.asked_for_bytes()
    assert [request.headers.get("authorization") for request in sent] == [None]
    assert all(hubs.COMMIT in each.path for each in hub.requests[1:] if "resolve" in each.path)


async def test_a_download_that_was_cut_off_resumes_at_its_byte(hub: Hub, tmp_path: Path) -> None:
    """Twice cut in the middle, each time resumed with the ETag of what is there."""
    hub.faults.extend(["cut", "cut"])
    download = Download(tmp_path)
    for _ in range(2):
        with pytest.raises(server_responses.Unavailable, match="cut off"):
            await fetch(plain(hub), download)
    await fetch(plain(hub), download)
    assert download.part.read_bytes() == CONTENT
    ranges = [request.headers.get("range") for request in hub.asked_for_bytes()]
    half = len(CONTENT) // 2
    assert ranges == [None, f"bytes={half}-", f"bytes={half + (len(CONTENT) - half) // 2}-"]
    assert hub.asked_for_bytes()[1].headers["if-range"] == hub.etag


async def test_a_file_that_arrived_is_not_asked_for_again(hub: Hub, tmp_path: Path) -> None:
    """A crash after the last byte costs nothing."""
    download = Download(tmp_path)
    await fetch(plain(hub), download)
    await fetch(plain(hub), download)
    assert len(hub.asked_for_bytes()) == 1


async def test_a_file_that_changed_while_it_was_cut_off_starts_over(
    hub: Hub, tmp_path: Path
) -> None:
    """Never the beginning of one version and the end of another."""
    hub.faults.append("cut")
    download, said = Download(tmp_path), list[str]()
    with pytest.raises(server_responses.Unavailable):
        await fetch(plain(hub), download)
    hub.content = b"GGUF" + os.urandom(len(CONTENT) - 4)
    await fetch(plain(hub), download, said=said)
    assert download.part.read_bytes() == hub.content
    assert said[-1] == "The source has changed or does not support ranges; starting over."


async def test_a_server_that_ignores_if_range_is_found_out(hub: Hub, tmp_path: Path) -> None:
    """A partial response with another ETag is discarded with the bytes before it."""
    hub.faults.append("cut")
    download = Download(tmp_path)
    with pytest.raises(server_responses.Unavailable):
        await fetch(plain(hub), download)
    known = download.known()
    assert known is not None
    hub.content = b"GGUF" + os.urandom(len(CONTENT) - 4)
    download.note(Known(url=known.url, size_bytes=known.size_bytes, validator=hub.etag + "x"))
    with hubs.serving(Hub(hub.content)) as other:
        careless = Remote(f"{other.address}/plain/tiny.gguf", "tiny.gguf")
        download.note(Known(url=careless.url, size_bytes=len(CONTENT), validator='"old"'))
        await fetch(careless, download)
    assert download.part.read_bytes() == hub.content


@pytest.mark.parametrize("changes", [{"etags": False}, {"ranges": False}])
async def test_a_server_that_cannot_resume_sends_all_of_it_again(
    hub: Hub, tmp_path: Path, changes: dict[str, bool]
) -> None:
    """Without a validator, or without ranges, a resumed download would be a guess."""
    for name, value in changes.items():
        setattr(hub, name, value)
    hub.faults.append("cut")
    download = Download(tmp_path)
    with pytest.raises(server_responses.Unavailable):
        await fetch(plain(hub), download)
    await fetch(plain(hub), download)
    assert download.part.read_bytes() == CONTENT


async def test_a_length_that_is_not_told_is_no_obstacle(hub: Hub, tmp_path: Path) -> None:
    """A chunked answer arrives whole; its end is the protocol's."""
    hub.lengths = False
    known = await fetch(plain(hub), Download(tmp_path))
    assert known.size_bytes is None
    assert Download(tmp_path).part.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("fault", "error", "said"),
    [
        ("html", server_responses.Refused, "answered with a web page"),
        ("gzip", server_responses.Refused, "compresses the file"),
        ("404", server_responses.Refused, "there is no such file"),
        ("403", server_responses.Refused, "answered 403 Forbidden"),
        ("400", server_responses.Refused, "answered 400"),
        ("503", server_responses.Unavailable, "answered 503"),
        ("429", server_responses.Unavailable, "answered 429"),
        ("cut", server_responses.Unavailable, "cut off"),
    ],
)
async def test_what_a_server_can_answer(
    hub: Hub, tmp_path: Path, fault: str, error: type[Exception], said: str
) -> None:
    """Each with a sentence; what may pass is tried again, what will not is refused."""
    hub.faults.append(fault)
    with pytest.raises(error, match=said) as raised:
        await fetch(plain(hub), Download(tmp_path))
    assert "/plain/tiny.gguf" in str(raised.value)
    if fault == "429":
        assert isinstance(raised.value, server_responses.Unavailable)
        assert raised.value.after_s == 7


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("hf://acme/none/tiny.gguf", "there is no such repository"),
        ("hf://acme/tiny/tiny.gguf@v9", "no such revision"),
        ("hf://acme/tiny/other.gguf", "no such file at this revision"),
    ],
)
async def test_what_the_hub_does_not_have(hub: Hub, address: str, said: str) -> None:
    """The repository, the revision or the file: it says which."""
    async with server_requests.client() as http:
        with pytest.raises(server_responses.Refused, match=said):
            await downloads.look_up(http, on_the_hub(hub, address))


async def test_a_gated_repository_says_what_is_needed(hub: Hub) -> None:
    """A token in the node's environment."""
    hub.token = "hf_secret"  # noqa: S105 not a secret
    async with server_requests.client() as http:
        with pytest.raises(server_responses.Refused, match="needs HF_TOKEN"):
            await downloads.look_up(http, on_the_hub(hub))


async def test_a_file_of_another_size_than_the_hub_says_is_refused(
    hub: Hub, tmp_path: Path
) -> None:
    """The two answers have to be of the same file."""
    async with server_requests.client() as http:
        known = await downloads.look_up(http, on_the_hub(hub))
    hub.content = CONTENT + b"more"
    with pytest.raises(server_responses.Refused, match="the Hub says that the file has"):
        await fetch(Remote(known.url, "tiny.gguf"), Download(tmp_path), expected=known)
    assert not Download(tmp_path).part.exists()


async def test_what_is_no_gguf_is_found_out_by_its_first_bytes(hub: Hub, tmp_path: Path) -> None:
    """Not after forty gigabytes."""
    hub.content = b"PK\x03\x04" + CONTENT
    with pytest.raises(server_responses.Refused, match="does not begin with the letters GGUF"):
        await fetch(plain(hub), Download(tmp_path))


async def test_a_disk_without_room_is_found_out_before(hub: Hub, tmp_path: Path) -> None:
    """The sentence has what is needed and what is there."""
    with pytest.raises(
        server_responses.Refused, match=r"Not enough disk space for .* must remain free"
    ):
        await fetch(plain(hub), Download(tmp_path), free_bytes=lambda _: disk_room.RESERVE)
    assert Download(tmp_path).size_bytes() == 0


async def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    """A connection that is refused may be accepted later."""
    with hubs.serving(Hub(CONTENT)) as gone:
        source = plain(gone)
    with pytest.raises(server_responses.Unavailable, match="no connection"):
        await fetch(source, Download(tmp_path))


async def test_a_server_that_goes_silent_is_left_in_time(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What had arrived by then is kept."""
    monkeypatch.setattr(server_requests, "_TIMEOUT", 0.2)
    hub.held_after = 1000
    with pytest.raises(server_responses.Unavailable, match="did not answer in time"):
        await fetch(plain(hub), Download(tmp_path))
    assert Download(tmp_path).size_bytes() == 1000


def certificate(directory: Path) -> tuple[Path, Path]:
    """A self-signed certificate for loopback, and its key."""
    key, made = directory / "key.pem", directory / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", str(key), "-out", str(made)],
        check=True, capture_output=True,
    )  # fmt: skip
    return made, key


async def test_an_untrusted_certificate_is_refused(tmp_path: Path) -> None:
    """Trying again would not help; with the certificate trusted the same file arrives."""
    made, key = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made, key)
    with hubs.serving(Hub(CONTENT), context) as hub:
        with pytest.raises(server_responses.Refused, match="certificate is not trusted"):
            await fetch(plain(hub), Download(tmp_path))
        trusting = ssl.create_default_context(cafile=str(made))
        async with server_requests.client(trusting) as http:
            await downloads.fetch(
                http, plain(hub), Download(tmp_path), progress=lambda *_: None, log=print
            )
    assert Download(tmp_path).part.read_bytes() == CONTENT


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    course=st.lists(st.sampled_from(["cut", "503", "change", "cancel", "lose record"]), max_size=5),
    etags=st.booleans(),
    ranges=st.booleans(),
    lengths=st.booleans(),
)
async def test_whatever_happens_what_arrives_is_one_version(
    tmp_path_factory: pytest.TempPathFactory,
    course: list[str],
    etags: bool,
    ranges: bool,
    lengths: bool,
) -> None:
    """Cut, refused for a while, changed, cancelled, crashed, in any order: then it is whole."""
    download = Download(tmp_path_factory.mktemp("download"))
    versions = [CONTENT]
    with hubs.serving(Hub(CONTENT, etags=etags, ranges=ranges, lengths=lengths)) as hub:
        for event in course:
            if event == "change":
                hub.content = b"GGUF" + os.urandom(len(CONTENT) - 4)
                versions.append(hub.content)
            elif event == "lose record":
                (download.directory / "file.json").unlink(missing_ok=True)
            elif event == "cancel":
                await cancel_in_the_middle(hub, download)
            else:
                hub.faults.append(event)
                with contextlib.suppress(server_responses.Unavailable):
                    await fetch(plain(hub), download)
                hub.faults.clear()
        for _ in range(2):  # a file that changed is begun anew by the next call
            with contextlib.suppress(server_responses.Unavailable):
                await fetch(plain(hub), download)
    assert download.part.read_bytes() in versions


async def cancel_in_the_middle(hub: Hub, download: Download) -> None:
    """Let some bytes arrive, then stop waiting for the rest."""
    hub.gate.clear()
    hub.held_after = 5000
    arrived = asyncio.Event()
    async with server_requests.client() as http:
        task = asyncio.create_task(
            downloads.fetch(
                http, plain(hub), download, log=lambda _: None,
                progress=lambda done, _: arrived.set() if done else None,
            )
        )  # fmt: skip
        some = asyncio.create_task(arrived.wait())
        await asyncio.wait([task, some], return_when=asyncio.FIRST_COMPLETED)
        for each in (task, some):
            each.cancel()
        await asyncio.gather(task, some, return_exceptions=True)
    hub.held_after = None
    hub.gate.set()
