"""`python -m engine.reads.member_process HOME PARENT`: runs the statements of one member.

SQLite's memory limit is per process: a large sort of one member would make the statements of others
fail. So each member has a process, with orders on its standard input and answers on its standard
output, one at a time. Ends with its input, and with its parent. Started by `engine.reads.members`,
which imports the orders from here.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from typing import BinaryIO, Final, Literal

import msgspec

from storage.home.paths import Home
from storage.runtime import parent
from storage.sqlite import guarded_reads, read_protocol
from storage.sqlite.read_protocol import LENGTH, Response, Rows, Value

_MEMORY: Final = 512 << 20
"""Bytes; a statement that needs more fails."""


class Order(msgspec.Struct, frozen=True):
    """What to do on one of the member's connections; `until_s` is of the monotonic clock."""

    connection: int
    act: Literal["begin", "execute", "end", "close"]
    sql: str = ""
    parameters: tuple[Value, ...] = ()
    until_s: float = 0.0


_encode: Final = msgspec.msgpack.Encoder().encode
_decoder: Final = msgspec.msgpack.Decoder(Order)


def encode(order: Order) -> bytes:
    """An order with its length."""
    body = _encode(order)
    return LENGTH.pack(len(body)) + body


class Member:
    """The member's connections to the store, opened when they are first used."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._open: dict[int, guarded_reads.Connection] = {}

    def do(self, order: Order) -> Response:
        """Carry out an order; the error, if it fails."""
        try:
            return self._done(order)
        except Exception as error:  # noqa: BLE001 whatever a statement does, it is its member's
            return guarded_reads.failed(error)

    def _done(self, order: Order) -> Response:
        if order.act == "close":
            if (closing := self._open.pop(order.connection, None)) is not None:
                closing.close()
            return Rows((), [])
        if order.connection not in self._open:
            self._open[order.connection] = guarded_reads.Connection(self._home)
        connection = self._open[order.connection]
        match order.act:
            case "begin":
                connection.begin()
            case "end":
                connection.end()
            case _:
                return connection.execute(order.sql, order.parameters, until_s=order.until_s)
        return Rows((), [])


def serve(member: Member, orders: BinaryIO, answers: BinaryIO) -> None:
    """Until there are no more orders."""
    while len(head := orders.read(LENGTH.size)) == LENGTH.size:
        order = _decoder.decode(orders.read(*LENGTH.unpack(head)))
        try:
            answer = read_protocol.encode(member.do(order))
        except MemoryError as error:
            answer = read_protocol.encode(guarded_reads.failed(error))
        answers.write(answer)
        answers.flush()


def main() -> int:
    """Serve one member."""
    home, started_by = sys.argv[1:]
    parent.die_with(int(started_by))
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
    serve(Member(Home(Path(home))), sys.stdin.buffer, sys.stdout.buffer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
