"""The worker's end of the socket: one gateway at a time; garbage ends only the connection."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.serving import framing, server_socket, wire
from engine.serving.server_socket import HIGH_WATER, ServerSocket

CANCEL = wire.Inbox((wire.Cancel(1),))


@pytest.fixture
def link(tmp_path: Path) -> Iterator[ServerSocket]:
    """One that listens."""
    one = ServerSocket(tmp_path / "worker.sock")
    yield one
    one.close()


def peer_of(path: Path) -> socket.socket:
    """A gateway that has connected."""
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(str(path))
    return peer


@pytest.fixture
def peer(link: ServerSocket, tmp_path: Path) -> Iterator[socket.socket]:
    """A gateway that was taken."""
    with peer_of(tmp_path / "worker.sock") as one:
        link.wait(60)
        assert (link.accepted, link.connected) == (True, True)
        link.accepted = False
        yield one


def test_frames_arrive_in_order_however_they_are_cut(
    link: ServerSocket, peer: socket.socket
) -> None:
    """Half a frame is nothing yet."""
    raw = b"".join(framing.encode(wire.Inbox((wire.Cancel(id),))) for id in range(3))
    peer.sendall(raw[:-2])
    assert [i.items[0] for i in link.wait(60)] == [wire.Cancel(0), wire.Cancel(1)]
    peer.sendall(raw[-2:])
    assert [i.items[0] for i in link.wait(60)] == [wire.Cancel(2)]


@pytest.mark.parametrize(
    "garbage",
    [
        struct.pack(">I", framing.FRAME_LIMIT + 1),
        struct.pack(">I", 4) + b"\x91\x91\xc1\x00",
        struct.pack(">I", 13) + b"\x91\x91\x92\xa9set_knobs"[:11] + b"\x81\xff",
        struct.pack(">I", 12) + b"\x91\x91\x92\xa6cancel\xa1\xff",
        struct.pack(">I", 50_002) + b"\x92\x90" + b"\x91" * 50_000,
    ],
)
def test_garbage_ends_the_connection_and_the_next_is_taken(
    link: ServerSocket, peer: socket.socket, tmp_path: Path, garbage: bytes
) -> None:
    """The worker serves on; frames received together with the garbage are not acted on."""
    peer.sendall(framing.encode(CANCEL) + garbage)
    assert link.wait(60) == []
    assert (link.lost, link.connected) == (True, False)
    with peer_of(tmp_path / "worker.sock") as again:
        link.wait(60)
        again.sendall(framing.encode(CANCEL))
        assert link.wait(60) == [CANCEL]


def test_a_second_gateway_waits_until_the_first_is_gone(
    link: ServerSocket, peer: socket.socket, tmp_path: Path
) -> None:
    """Two would each think that they own every id."""
    with peer_of(tmp_path / "worker.sock") as second:
        second.sendall(framing.encode(CANCEL))
        assert link.wait(0) == []
        peer.close()
        link.wait(60)
        assert link.lost
        link.wait(60)
        assert link.accepted
        assert link.wait(60) == [CANCEL]


def test_what_the_gateway_does_not_take_is_kept_and_counted(
    link: ServerSocket, peer: socket.socket
) -> None:
    """Nothing blocks, nothing is lost; `pending` tells the worker when to stop computing."""
    frame = wire.Outbox((wire.AdapterFailed("adapter", "x" * 200_000),))
    sent = 0
    while link.pending < HIGH_WATER:
        link.send(frame)
        sent += 1
    splitter, bodies = framing.Splitter(), list[bytes]()
    while len(bodies) < sent:
        bodies += splitter.feed(peer.recv(1 << 20))
        link.wait(0)
    assert [framing.decode_outbox(body) for body in bodies] == [frame] * sent
    assert link.pending == 0


def test_a_gateway_that_went_away_is_noticed_when_it_is_spoken_to(
    link: ServerSocket, peer: socket.socket
) -> None:
    """Sending without a connection does nothing."""
    peer.close()
    frame = wire.Outbox((wire.AdapterLoaded("adapter", ""),))
    link.send(frame)
    link.send(frame)
    assert (link.lost, link.connected, link.pending) == (True, False, 0)


def test_the_address_may_be_longer_than_the_kernel_s_limit(tmp_path: Path) -> None:
    """Data directories lie deep; a socket address holds 107 bytes. Only the owner may connect."""
    folder = tmp_path / ("deep" * 40)
    folder.mkdir()
    path = folder / "worker.sock"
    path.touch()  # what a killed worker left
    one = ServerSocket(path)
    assert path.is_socket()
    assert path.stat().st_mode & 0o777 == 0o600
    one.close()
    assert not path.exists()


def test_a_removed_socket_is_bound_again(
    link: ServerSocket, peer: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connected gateway stays; the next one finds the socket, even in a new directory."""
    monkeypatch.setattr(server_socket, "_LOOK_S", 0.0)
    link.wait(0)  # accepts
    (tmp_path / "worker.sock").unlink()
    link.wait(0)
    assert (tmp_path / "worker.sock").is_socket()
    assert link.connected
    peer.close()
    link.wait(60)
    with socket.socket(socket.AF_UNIX) as second:
        second.connect(str(tmp_path / "worker.sock"))
        link.accepted = False
        link.wait(60)
        assert link.accepted
    link.hide()
    link.wait(0)
    assert not (tmp_path / "worker.sock").exists()
