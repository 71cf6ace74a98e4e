"""What is recorded of a job."""

from __future__ import annotations

import pytest

from engine.execution import record
from engine.execution.failures import Broken, Failure, Invalid, Overloaded
from engine.execution.record import REFUSED_CHARACTERS
from tests.engine.execution import jobs


@pytest.mark.parametrize("kind", [Invalid, Overloaded])
def test_of_a_refused_prompt_the_beginning_is_kept(kind: type[Failure]) -> None:
    """One client could fill the disk with prompts that cost it nothing: 14 MB a second."""
    job = jobs.job("x" * 2_000_000, record_text=True)
    refused = record.text(job, "", kind("no", code="context_length_exceeded"))
    assert refused is not None
    assert refused.prompt == "x" * REFUSED_CHARACTERS + "… (2000000 characters)"
    for failure in (None, Broken("no", code="engine_error")):
        whole = record.text(job, "", failure)
        assert whole is not None
        assert len(whole.prompt) == 2_000_000
    assert record.text(jobs.job("x"), "", None) is None
