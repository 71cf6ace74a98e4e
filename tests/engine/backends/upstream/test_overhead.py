"""What precedes a response is counted at the cost of reading it once."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.backends.upstream import overhead

INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
FINAL = b"HTTP/1.1 200 OK\r\nx: y\r\n\r\nHTTP/1.1 100 of the body\r\n\r\n"


@given(
    interim=st.integers(0, 5),
    end=st.sampled_from([b"\r\n", b"\n"]),
    cuts=st.lists(st.integers(0, 200), max_size=12),
)
def test_interim_responses_are_counted_wherever_the_reads_end(
    interim: int, end: bytes, cuts: list[int]
) -> None:
    """A read may end within a status line or between the line ends that end a head."""
    sent = (INTERIM * interim + FINAL).replace(b"\r\n", end)
    places = sorted({0, *(min(cut, len(sent)) for cut in cuts), len(sent)})
    heads = overhead._Heads()
    counted = [heads.feed(sent[a:b]) for a, b in itertools.pairwise(places)]
    assert counted[-1] == interim


def test_a_head_in_many_reads_is_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that does not end cost 18 ms: all that had come was searched at each read."""
    searched = []

    class Counting:
        def search(self, data: bytes) -> re.Match[bytes] | None:
            searched.append(len(data))
            return head_end.search(data)

        def split(self, data: bytes) -> list[bytes]:
            searched.append(len(data))
            return head_end.split(data)

    head_end = overhead._HEAD_END
    monkeypatch.setattr(overhead, "_HEAD_END", Counting())
    heads = overhead._Heads()
    for _ in range(32):
        heads.feed(b"x-a: aaaaaaaaaa\r\n" * 240)
    assert sum(searched) < 2 * 32 * 240 * 17
