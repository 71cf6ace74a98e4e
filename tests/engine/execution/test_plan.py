"""What a caller sets wins over the release, which wins over nothing."""

from __future__ import annotations

from engine.execution import plan
from engine.execution.job import Options
from storage.releases import Limits, Sampling
from tests.engine.execution import jobs


def test_a_callers_setting_wins_and_the_rest_is_the_releases() -> None:
    """Also where the caller turns a penalty off."""
    release = jobs.release(
        sampling=Sampling(
            repetition_penalty=1.2, frequency_penalty=0.5, presence_penalty=0.4, repeat_last_n=32
        )
    )
    options = Options(frequency_penalty=0.0, logit_bias=((3, -1.0),), min_tokens=4)
    sampling = plan.sampling(options, release, 7)
    assert (sampling.repetition_penalty, sampling.frequency_penalty) == (1.2, 0.0)
    assert (sampling.presence_penalty, sampling.repeat_last_n) == (0.4, 32)
    assert (sampling.logit_bias, sampling.min_tokens) == (((3, -1.0),), 4)


def test_the_releases_least_length_yields_to_the_callers_most() -> None:
    """Which would be refused if the caller had named both."""
    release = jobs.release(sampling=Sampling(min_tokens=50), limits=Limits(max_tokens=100))
    assert plan.sampling(Options(), release, 1).min_tokens == 50
    assert plan.sampling(Options(max_tokens=20), release, 1).min_tokens == 20


def test_the_models_end_is_ignored_only_where_the_caller_says_so() -> None:
    """A minimum beside it still keeps stop strings from ending the answer."""
    release = jobs.release()
    sampling = plan.sampling(Options(min_tokens=5, ignore_eos=True), release, 1)
    assert (sampling.ignore_eos, sampling.min_tokens) == (True, 5)
    assert not plan.sampling(Options(), release, 1).ignore_eos
