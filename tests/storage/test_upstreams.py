"""Upstreams: what may be registered, and that no key leaves its file."""

from __future__ import annotations

from typing import Any

import pytest

from storage import errors, ledger, upstream_health, upstream_urls, upstreams
from storage.store import Store
from storage.upstreams import Upstream


async def add(store: Store, name: str = "vllm", **fields: Any) -> Upstream:
    """Register one with defaults."""
    given: dict[str, Any] = {"name": name, "url": "http://127.0.0.1:8000/v1", "actor": "sara"}
    return await store.write(lambda s: upstreams.add(s, at_us=1, **(given | fields)))


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1"),
        ("HTTP://box01:8000/v1/", "http://box01:8000/v1"),
        (" https://example.com/openai/v1\n", "https://example.com/openai/v1"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
    ],
)
def test_a_url_is_the_base_of_the_api(url: str, kept: str) -> None:
    """As OpenAI's clients take it; /v1 where no path is given."""
    assert upstream_urls.normalised(url) == kept


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "it is empty"),
        ("box01:8000", "neither http nor https"),
        ("unix:///run/x.sock", "neither http nor https"),
        ("http://", "names no host"),
        ("http://:8000/v1", "names no host"),
        ("http://box01:65536", "Port out of range"),
        ("http://box01:eighty", "Port could not be cast"),
        ("http://[::1", "Invalid IPv6"),
        ("http://box01/v 1", "holds spaces"),
        ("http://bücher.example/v1", "other than ASCII"),
        ("http://box01/v1?key=sk-secret", "--key-file"),
        ("http://sara:sk-secret@box01/v1", "--key-file"),
        ("http://box01/" + "a" * 2048, "at most 2048"),
    ],
)
def test_a_url_that_cannot_be_used_says_why(url: str, why: str) -> None:
    """And the message never repeats a password that was typed into it."""
    with pytest.raises(errors.Invalid, match=why) as refused:
        upstream_urls.normalised(url)
    assert "sk-secret" not in str(refused.value)


async def test_paths_are_below_the_base_or_on_the_host(store: Store) -> None:
    """`/metrics` of vLLM is beside its API, `models` inside it."""
    added = await add(store)
    assert upstreams.address(added, "models") == "http://127.0.0.1:8000/v1/models"
    assert upstreams.address(added, "/metrics") == "http://127.0.0.1:8000/metrics"


async def test_a_name_is_taken_once_and_free_again(store: Store) -> None:
    """The ledger tells both changes, and says that there is a key without saying where."""
    await add(store, secret="0" * 32)
    with pytest.raises(errors.AlreadyExists, match="There is an upstream vllm at http"):
        await add(store)
    await store.write(lambda s: upstreams.remove(s, "vllm", actor="lee", at_us=2))
    await add(store)
    async with store.read() as s:
        entries = await ledger.of(s, "upstream", "vllm")
    assert [entry.verb for entry in entries] == [
        "upstreams.add",
        "upstreams.remove",
        "upstreams.add",
    ]
    assert [entry.after and entry.after["has_key"] for entry in entries] == [False, None, True]
    assert "0" * 32 not in str(entries)
    with pytest.raises(errors.NotFound, match="no upstream sglang; known: vllm"):
        await store.write(lambda s: upstreams.remove(s, "sglang", actor="lee", at_us=3))


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("max_connections", 0, "max_connections"),
        ("connect_timeout_us", 0, "connect timeout"),
        ("read_timeout_us", 3_600_000_001, "read timeout"),
        ("first_event_timeout_us", -1, "first-event timeout"),
        ("health_path", "he alth", "health path"),
        ("metrics_path", "", "metrics path"),
        ("name", "vLLM", "cannot be the name of"),
    ],
)
async def test_bounds_are_kept(store: Store, field: str, value: Any, why: str) -> None:
    """What no connection could use is refused when it is registered."""
    with pytest.raises(errors.Invalid, match=why):
        await add(store, **{field: value})


async def test_health_is_what_the_gateway_found_last(store: Store) -> None:
    """Since when, and why not; nothing is left of it when the upstream is removed."""
    await add(store)
    await store.write(lambda s: upstream_health.observe(s, "vllm", "it is unreachable", 5))
    await store.write(lambda s: upstream_health.observe(s, "vllm", None, 9))
    async with store.read() as s:
        found = await upstream_health.every(s)
    assert found == {"vllm": upstream_health.Health(reason=None, since_us=9)}
    await store.write(lambda s: upstreams.remove(s, "vllm", actor="lee", at_us=10))
    async with store.read() as s:
        assert await upstream_health.every(s) == {}


async def test_a_key_is_replaced_without_removing_the_upstream(store: Store) -> None:
    """A key that leaked, or expired, is changed while splits go on using the upstream."""
    await add(store, secret="0" * 32)
    await store.write(lambda s: upstreams.rekey(s, "vllm", "1" * 32, actor="lee", at_us=2))
    async with store.read() as s:
        assert (await upstreams.find(s, "vllm")).secret == "1" * 32
        (entry, *_) = await ledger.of(s, "upstream", "vllm")
    assert entry.verb == "upstreams.rekey"
    assert "1" * 32 not in str(entry)
    with pytest.raises(errors.NotFound, match="no upstream sglang"):
        await store.write(lambda s: upstreams.rekey(s, "sglang", None, actor="lee", at_us=3))
