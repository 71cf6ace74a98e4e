"""Prices have a time from which they are in force, one currency, and the figures of their kind."""

from __future__ import annotations

import pytest

from storage import errors, ledger, prices, upstreams
from storage.home import config
from storage.intents import State
from storage.prices import GPU_HOUR, KWH, QUARTER_S, Price
from storage.store import Store
from tests.engine.control.desks import Desk

SETTINGS = config.Price(currency="EUR")
AT = 1_800_000_123


async def set_(
    store: Store, subject: str, *, currency: str | None = None, **figures: int | None
) -> Price:
    """Set a price as an intent does."""
    return await store.write(
        lambda s: prices.set(
            s, subject=subject, from_s=AT, currency=currency, settings=SETTINGS, actor="kim",
            at_us=5, **figures,
        )
    )  # fmt: skip


async def test_a_price_is_kept_with_its_time_and_who_set_it(store: Store) -> None:
    """From the beginning of its quarter hour on; the ledger has what it was before."""
    first = await set_(store, GPU_HOUR, micro=2_500_000)
    second = await set_(store, GPU_HOUR, micro=3_000_000)
    await set_(store, "cloud/gpt-4o", input_micro=1, output_micro=2, cached_micro=0)
    assert (first.from_s, first.currency) == (AT // QUARTER_S * QUARTER_S, "EUR")
    async with store.read() as s:
        known = await prices.listed(s, SETTINGS)
        entry = (await ledger.tail(s, 1, noun="price"))[0]
        assert (await ledger.of(s, "price", GPU_HOUR))[0].actor == "kim"
    assert known.at(AT).gpu_hour_micro == second.micro
    assert known.at(AT).of_upstream("cloud", "gpt-4o") is not None
    assert known.at(AT).of_upstream("cloud", "other") is None
    assert entry.key == "cloud/gpt-4o"


@pytest.mark.parametrize(
    ("subject", "currency", "figures", "said"),
    [
        (KWH, "USD", {"micro": 1}, "The prices of this box are in EUR; convert USD into it."),
        (GPU_HOUR, None, {"input_micro": 1, "output_micro": 1}, "has one price"),
        ("cloud", None, {"micro": 1}, "priced by its tokens: --input and --output"),
        ("cloud", None, {"input_micro": 1}, "needs the price of output tokens too: --output"),
        ("cloud", None, {"output_micro": 1}, "needs the price of input tokens too: --input"),
        ("cloud", None, {"cached_micro": 1}, "needs the price of input tokens too: --input"),
        ("No Such", None, {"micro": 1}, "'No Such' has no price: name gpu-hour, kwh, an upstream"),
    ],
)
async def test_a_price_that_does_not_fit_is_refused(
    store: Store, subject: str, currency: str | None, figures: dict[str, int], said: str
) -> None:
    """With what to do instead; nothing is stored."""
    await set_(store, GPU_HOUR, micro=1)
    with pytest.raises(errors.Invalid, match=said.replace("(", r"\(")):
        await set_(store, subject, currency=currency, **figures)
    async with store.read() as s:
        assert len(await prices.every(s)) == 1


async def test_a_price_is_set_and_unset(furnished: Desk) -> None:
    """The outcome says since when; what does not fit is refused with what to do."""
    done = await furnished.do("prices.set", "gpu-hour", from_s=1_800_000_123, micro=2_500_000)
    said = "gpu-hour costs 2.5 USD from 2027-01-15 08:00 UTC on."
    assert (done.state, done.outcome) == (State.APPLIED, said)
    tokens = {"input_micro": 2_500_000, "cached_micro": 0, "output_micro": 10_000_000}
    listed = await furnished.do("prices.set", "cloud/big", from_s=0, **tokens)
    assert "cloud/big cost 2.5 of input, 0 of cached, 10 of output (USD)" in (listed.outcome or "")
    unset = await furnished.do("prices.set", "gpu-hour", from_s=1_800_001_000)
    assert unset.outcome == "gpu-hour has no price from 2027-01-15 08:15 UTC on."
    refused = await furnished.do("prices.set", "kwh", from_s=0, micro=1, currency="EUR")
    assert refused.state is State.REFUSED
    assert refused.outcome == "The prices of this box are in USD; convert EUR into it."


async def test_a_price_of_an_upstream_that_is_not_there_says_so(furnished: Desk) -> None:
    """It is kept, for the upstream may be added later; a misspelt one would price nothing."""
    await furnished.store.write(
        lambda s: upstreams.add(s, name="vllm", url="http://h/v1", actor="kim", at_us=5)
    )
    tokens = {"from_s": AT, "input_micro": 3, "output_micro": 4}
    known = await furnished.do("prices.set", "vllm/qwen", **tokens)
    other = await furnished.do("prices.set", "vlm", **tokens)
    unset = await furnished.do("prices.set", "vlm", from_s=AT)
    assert "no upstream" not in (known.outcome or "") + (unset.outcome or "")
    assert (other.outcome or "").endswith(" There is no upstream vlm now; known: vllm.")
