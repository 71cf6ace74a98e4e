"""Any bytes in any pieces: answers in order, a timer in every state, no exception."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.gateway.http.limits import Limits
from engine.gateway.http.states import State
from tests.engine.gateway.http.wires import Bench, Clock, Wire

LIMITS = Limits(
    connections=4, per_address=4, head_bytes=400, body_buffer=64, pipelined=3, body_rate=1,
)  # fmt: skip
_ANSWER = re.compile(rb"HTTP/1\.1 (\d{3}) .*?\r\n\r\n", re.DOTALL)

GET = b"GET /%d HTTP/1.1\r\nhost: x\r\n\r\n"
POST = b"POST /%d HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello"
CHUNKED = (
    b"POST /%d HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    b"3\r\nhel\r\n2;a=b\r\nlo\r\n0\r\nt: x\r\n\r\n"
)
EXPECT = b"POST /%d HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\nx"
OTHERS = (
    b"\r\n", b"\n", b"GET", b"\x16\x03\x01", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"a" * 450,
    b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    b"HEAD / HTTP/1.1\r\nhost: x\r\n\r\n", b"0\r\n\r\n", b"5\r\n",
    b"GET / HTTP/1.1\r\nhost: x\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n",
)  # fmt: skip

valid = st.lists(st.sampled_from([GET, POST, CHUNKED, EXPECT]), max_size=6)
other = st.lists(st.one_of(st.sampled_from(OTHERS), st.binary(max_size=40)), max_size=2)
fragments = st.tuples(valid, other, valid).map(lambda parts: [*parts[0], *parts[1], *parts[2]])
steps = st.lists(
    st.one_of(
        st.integers(1, 30),  # so many bytes arrive
        st.integers(30, 500),
        st.sampled_from(["let", "work", "work", "pause", "resume", "tick", "late", "eof"]),
    ),
    max_size=30,
)


def numbered(pieces: Iterable[bytes]) -> bytes:
    """The pieces behind each other, requests numbered in their order."""
    return b"".join(
        piece % number if b"/%d " in piece else piece for number, piece in enumerate(pieces)
    )


@settings(max_examples=60, deadline=None)
@given(fragments.map(numbered), steps, st.booleans())
def test_any_bytes_in_any_pieces_end_well(data: bytes, steps: list[int | str], let: bool) -> None:
    """After each step the connection has a timer, or is over; in the end it is over.

    `let`: the application answers at once.
    """
    asyncio.run(_play(data, ["let", *steps] if let else steps, busy=let))


async def _play(data: bytes, steps: list[int | str], *, busy: bool) -> None:
    failed: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context))
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock(patch)
        bench = Bench(LIMITS)
        client = Client(bench, clock, data)
        for step in steps:
            await client.take(step)
            if busy:
                await bench.settle()
            assert client.wire.aborted or clock.waiting, client.connection.state
        await bench.settle()
        numbers = [int(each["path"][1:]) for each in bench.app.asked if each["path"][1:].isdigit()]
        assert numbers == sorted(numbers)
        _check_answers(client.wire, len(bench.app.asked))
        clock.turn(2 * LIMITS.answer_s)
        assert client.ended
        client.connection.connection_lost(None)
        assert client.connection.state is State.CLOSED
        assert clock.waiting == []
        assert bench.admission.count == 0
        await bench.settle()
        assert not bench.tasks
    assert failed == []


class Client:
    """Sends the bytes step by step, as far as a transport would deliver them."""

    def __init__(self, bench: Bench, clock: Clock, data: bytes) -> None:
        self.connection, self.wire = bench.connect()
        self._bench = bench
        self._clock = clock
        self._data = data
        self._paused = False

    @property
    def ended(self) -> bool:
        """Whether the gateway has ended the connection."""
        return self.wire.closed or self.wire.aborted

    async def take(self, step: int | str) -> None:
        """One step of either end."""
        if step == "let":
            self._bench.app.let.set()
        elif step == "work":
            await self._bench.settle()
        elif step == "tick":
            self._clock.turn(1.0)
        elif step == "late":
            self._clock.turn(80.0)
        elif not self.ended:
            self._take(step)

    def _take(self, step: int | str) -> None:
        if isinstance(step, int):
            if self.wire.is_reading() and self._data:
                self.connection.data_received(self._data[:step])
                self._data = self._data[step:]
        elif step == "eof":
            self._data = b""
            if not self.connection.eof_received():
                self.wire.close()
        elif self._paused is (step == "resume"):
            self._paused = not self._paused
            change = self.connection.pause_writing if self._paused else None
            (change or self.connection.resume_writing)()


def _check_answers(wire: Wire, asked: int) -> None:
    """Only answers were written, no more than requests and one refusal."""
    statuses = [status for status in _ANSWER.findall(wire.written) if status != b"100"]
    assert len(statuses) <= asked + 1
    assert set(statuses) <= {b"200", b"400", b"408", b"413"}
    assert all(status == b"200" for status in statuses[:-1])
    left = wire.written
    while left:
        match = _ANSWER.match(left)
        assert match is not None, left
        left = left[match.end() :]
        if match[1] == b"200" and b"chunked" in match[0]:
            assert b"6\r\nanswer\r\n0\r\n\r\n".startswith(left[: len(b"6\r\nanswer\r\n0\r\n\r\n")])
            left = left[len(b"6\r\nanswer\r\n0\r\n\r\n") :]
        elif match[1] == b"200":
            left = left.removeprefix(b"answer")  # HTTP/1.0; a HEAD has none
        elif match[1] != b"100":
            left = b""
