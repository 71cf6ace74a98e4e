"""Text grows by whole characters, and no part of a stop string is ever shown."""

from __future__ import annotations

import sys

from hypothesis import example, given
from hypothesis import strategies as st

from engine.serving.detokenise import Detokeniser

few = st.text("abé€", max_size=30)
stops = st.lists(st.text("abé€", max_size=6), max_size=4)
cuts = st.lists(st.integers(1, 4), min_size=1, max_size=200)


def pieces(raw: bytes, sizes: list[int]) -> list[bytes]:
    """Cut as a tokenizer might: anywhere, also within a character; some tokens are empty."""
    found, at, turn = [b""], 0, 0
    while at < len(raw):
        size = sizes[turn % len(sizes)]
        found.append(raw[at : at + size])
        at += size
        turn += 1
    return found


def spoken(raw: bytes, sizes: list[int], stop_strings: list[str]) -> tuple[list[str], bool]:
    """What is shown token by token and at the end, and whether a stop string ended it."""
    one = Detokeniser(stop_strings)
    shown = []
    for piece in pieces(raw, sizes):
        shown.append(one.push(piece))
        if bool(one.stop):
            return shown, True
    shown.append(one.flush())
    return shown, bool(one.stop)


def cut_at_stop(text: str, stop_strings: list[str]) -> tuple[str, bool]:
    """The naive reference: one character after the other, until some stop string is complete."""
    for end in range(len(text) + 1):
        done = [stop for stop in stop_strings if stop and text[:end].endswith(stop)]
        if done:
            return text[: end - max(map(len, done))], True
    return text, False


@given(st.binary(max_size=60), cuts)
@example(b"\xf0\x9f\xa6\xa6", [1])
@example(b"\xe2\x82", [1])
@example(b"\xff\xfe\xf0\x9f", [3])
def test_bytes_cut_anywhere_give_the_text_of_the_whole(raw: bytes, sizes: list[int]) -> None:
    """Invalid UTF-8 becomes U+FFFD, exactly as when it is decoded in one piece."""
    shown, stopped = spoken(raw, sizes, [])
    assert ("".join(shown), stopped) == (raw.decode("utf-8", "replace"), False)


@given(st.text(max_size=40), cuts)
def test_no_half_character_is_shown(text: str, sizes: list[int]) -> None:
    """What has been shown is at any time a beginning of the text."""
    so_far = ""
    for more in spoken(text.encode("utf-8", "replace"), sizes, [])[0]:
        so_far += more
        assert text.encode("utf-8", "replace").decode().startswith(so_far)


@given(few, cuts, stops)
@example("abab€", [1], ["ab€", "abab"])
@example("aab", [1], ["ab", "aab"])
def test_a_stop_string_ends_the_text_wherever_tokens_are_cut(
    text: str, sizes: list[int], stop_strings: list[str]
) -> None:
    """The first that is complete; of those that end together the longest. None of it is shown."""
    shown, stopped = spoken(text.encode(), sizes, stop_strings)
    at_once = spoken(text.encode(), [1000], stop_strings)
    assert ("".join(shown), stopped) == cut_at_stop(text, stop_strings)
    assert ("".join(at_once[0]), at_once[1]) == ("".join(shown), stopped)


@given(few, cuts, stops)
def test_what_is_shown_never_has_to_be_taken_back(
    text: str, sizes: list[int], stop_strings: list[str]
) -> None:
    """At any time the text so far is a beginning of the final one: no partial stop string leaks."""
    final = cut_at_stop(text, stop_strings)[0]
    so_far = ""
    for more in spoken(text.encode(), sizes, stop_strings)[0]:
        so_far += more
        assert final.startswith(so_far)


@given(few, cuts, stops)
def test_no_more_is_held_back_than_could_become_a_stop_string(
    text: str, sizes: list[int], stop_strings: list[str]
) -> None:
    """A stream does not wait without need."""
    one = Detokeniser(stop_strings)
    so_far, raw = "", b""
    for piece in pieces(text.encode(), sizes):
        so_far += one.push(piece)
        raw += piece
        if bool(one.stop):
            return
        held = raw.decode("utf-8", "ignore")[len(so_far) :]
        assert held == "" or any(stop.startswith(held) for stop in stop_strings)


def test_after_a_stop_nothing_comes() -> None:
    """Neither from more tokens nor at the end."""
    one = Detokeniser(["."])
    assert one.push(b"done. more") == "done"
    assert (one.push(b"more"), one.flush(), bool(one.stop)) == ("", "", True)


def test_before_the_least_length_a_stop_string_is_only_text() -> None:
    """One that begins before and ends after it stops, as in vLLM."""
    one = Detokeniser(["ab"])
    one.stops = False
    assert one.push(b"ab a") == "ab "
    one.stops = True
    assert one.push(b"b") == ""
    assert one.stop == "ab"


def test_what_is_held_back_for_long_costs_no_more_for_each_token() -> None:
    """Sixteen stop strings of a thousand characters took milliseconds of each step of a worker."""
    one = Detokeniser(["a" * 1000 + "x", *("ab" * 500 + str(n) for n in range(15))])
    for _ in range(990):
        assert one.push(b"a") == ""
    called = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal called
        called += event in {"call", "c_call"}

    sys.setprofile(count)
    try:
        one.push(b"a")
    finally:
        sys.setprofile(None)
    assert called < 200
    assert one.push(b"b") == "a" * 990
