"""Steps and guards as they are typed, and what a rollout may be made of."""

from __future__ import annotations

import pytest

from storage import errors, rollout_steps, rollout_syntax
from storage.rollout_guards import GUARDS, Guard, Measure
from storage.rollout_steps import (
    DEFAULTS,
    Analysis,
    Mirror,
    OnNo,
    Pause,
    SetWeight,
    Strategy,
    Webhook,
)


@pytest.mark.parametrize("strategy", Strategy)
def test_the_default_steps_are_well_formed_and_gated(strategy: Strategy) -> None:
    """Time alone leads nowhere."""
    steps = DEFAULTS[strategy]
    rollout_steps.check(steps, GUARDS)
    assert rollout_steps.ungated(steps) is None


def test_weights_alone_get_an_analysis_after_each() -> None:
    """So does a weight that only a pause with an end follows."""
    typed = rollout_syntax.parse_steps(["5%", " 50 ", "pause 10m", "100"])
    assert typed == (
        SetWeight(500), Analysis(), SetWeight(5000), Pause(600), Analysis(), SetWeight(10_000),
        Analysis(),
    )  # fmt: skip
    by_hand = rollout_syntax.parse_steps(["10", "pause", "100", "analysis 30m"])
    assert by_hand == (SetWeight(1000), Pause(None), SetWeight(10_000), Analysis(1800))


def test_a_mirror_is_typed_with_its_share_and_bounds() -> None:
    """What is left out has the default; evidence leads on from it, so that no analysis is added."""
    typed = rollout_syntax.parse_steps(["mirror 20%", "100"])
    assert typed == (Mirror(2000), SetWeight(10_000), Analysis())
    assert rollout_syntax.parse_step("mirror 5 500 2h") == Mirror(500, 500, 7200)
    assert rollout_syntax.parse_step("mirror 5% 2h") == Mirror(500, at_most_s=7200)
    said = "mirror 5 %, 500+ copies, at most 2 h"
    assert rollout_steps.words(Mirror(500, 500, 7200)) == said


def test_a_webhook_is_asked_with_the_verdicts_of_the_analysis_before_it() -> None:
    """It is no evidence itself: an analysis is added, unless one is typed behind it."""
    url = "https://ci.example/gate?q=1"
    typed = rollout_syntax.parse_steps(["5", f"webhook {url} 10s ABORT", "100"])
    ask = Webhook(url, 10, OnNo.ABORT)
    assert typed == (SetWeight(500), Analysis(), ask, SetWeight(10_000), Analysis())
    by_hand = rollout_syntax.parse_steps(["100", f"webhook {url}", "analysis"])
    assert by_hand == (SetWeight(10_000), Webhook(url), Analysis())
    assert rollout_steps.words(ask) == f"webhook {url}, at most 10 s, abort on no"


def test_webhooks_surround_each_weight_and_what_follows_it() -> None:
    """One before the first weight, one before the end."""
    ask, tell = Webhook("https://a"), Webhook("https://b")
    steps = rollout_steps.with_webhooks(
        (Mirror(), SetWeight(500), Analysis(), SetWeight(10_000), Pause()), before=ask, after=tell
    )
    assert steps == (
        Mirror(), ask, SetWeight(500), Analysis(), tell, ask, SetWeight(10_000), Pause(), tell,
    )  # fmt: skip
    rollout_steps.check(steps, GUARDS)


@pytest.mark.parametrize(
    "typed",
    [
        "webhook", "webhook ftp://host", "webhook https://", "webhook https://host:99999",
        "webhook https://me:secret@host", "webhook https://host#part", "webhook https://h/\u00e9",
        "webhook https://host 2y", "webhook https://host 10m shout", "webhook https://host 10m 10m",
    ],
)  # fmt: skip
def test_what_is_no_webhook_is_refused(typed: str) -> None:
    """Also a password in an address, which everyone could read."""
    with pytest.raises(errors.Invalid):
        rollout_syntax.parse_step(typed)


@pytest.mark.parametrize(
    "typed", ["mirror", "mirror 0%", "mirror 101%", "mirror 5% 0", "mirror 5% 2y"]
)
def test_what_is_no_mirror_is_refused(typed: str) -> None:
    """With what one is."""
    with pytest.raises(errors.Invalid):
        rollout_syntax.parse_step(typed)


@pytest.mark.parametrize(
    ("strategy", "steps"),
    [
        (Strategy.SHADOW, (SetWeight(10_000), Pause())),
        (Strategy.CANARY, (Mirror(), SetWeight(10_000), Pause())),
    ],
)
def test_a_shadow_and_nothing_else_begins_with_a_mirror(
    strategy: Strategy, steps: tuple[rollout_steps.Step, ...]
) -> None:
    """What a rollout is called says whether users meet the candidate at once."""
    with pytest.raises(errors.Invalid):
        rollout_steps.fits(strategy, steps, GUARDS)


def test_only_a_shadow_can_be_held_to_guards_on_copies() -> None:
    """Nothing else has any, and the guard could never be shown to hold."""
    agreement = Guard(measure=Measure.AGREEMENT, allowed_bp=2000)
    rollout_steps.fits(Strategy.SHADOW, (Mirror(), SetWeight(10_000)), [agreement])
    with pytest.raises(errors.Invalid, match="only a shadow has"):
        rollout_steps.fits(Strategy.CANARY, (SetWeight(10_000),), [agreement])


@pytest.mark.parametrize("typed", ["101%", "half", "pause soon", "analysis 0s", ""])
def test_what_is_no_step_is_refused(typed: str) -> None:
    """With what a step is."""
    with pytest.raises(errors.Invalid):
        rollout_syntax.parse_step(typed)


@pytest.mark.parametrize(
    ("typed", "guard"),
    [
        ("latency_p95<=2s", Guard(measure=Measure.LATENCY, allowed_bp=500, limit_us=2_000_000)),
        ("ttft_p99<=250ms", Guard(measure=Measure.TTFT, allowed_bp=100, limit_us=250_000)),
        ("error_rate<=1%", Guard(measure=Measure.ERROR_RATE, allowed_bp=100)),
        (
            "thumbs_down<=30%",
            Guard(measure=Measure.THUMBS_DOWN, allowed_bp=3000, required=False),
        ),
        ("slowdown_p95<=1.5x", Guard(measure=Measure.SLOWDOWN, allowed_bp=500, limit_percent=150)),
        ("agreement>=80%", Guard(measure=Measure.AGREEMENT, allowed_bp=2000)),
    ],
)
def test_a_guard_is_typed_as_it_is_named(typed: str, guard: Guard) -> None:
    """There and back."""
    assert rollout_syntax.parse_guard(typed) == guard
    assert guard.name == typed


@pytest.mark.parametrize(
    "typed",
    [
        "latency<=2s",
        "error_rate_p95<=1%",
        "latency_p95<=2%",
        "speed<=1s",
        "error_rate<=0%",
        "agreement<=80%",
        "agreement>=100%",
        "slowdown<=2x",
        "slowdown_p95<=2s",
        "latency_p95>=2s",
    ],
)
def test_what_is_no_guard_is_refused(typed: str) -> None:
    """With what a guard is."""
    with pytest.raises(errors.Invalid, match="is not a guard"):
        rollout_syntax.parse_guard(typed)


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ((), "1 to 32 steps"),
        ((Analysis(), SetWeight(10_000)), "The first step sets a weight"),
        ((SetWeight(500), Analysis()), "The last weight of a rollout is 100 %"),
        ((Mirror(),), "The last weight of a rollout is 100 %, not none"),
        ((SetWeight(500), Mirror(), SetWeight(10_000)), "mirrored before the first weight"),
    ],
)
def test_steps_lead_to_all_of_the_traffic(steps: tuple[rollout_steps.Step, ...], said: str) -> None:
    """Or they are refused."""
    with pytest.raises(errors.Invalid, match=said):
        rollout_steps.check(steps, GUARDS)
