"""The prompt of a release and the input of a job."""

from __future__ import annotations

from engine.execution import prompts
from engine.execution.job import Embed
from engine.execution.snapshot import Snapshot
from tests.engine.execution import jobs


async def test_embeddings_have_no_prompt_before_them() -> None:
    """It is not even rendered, so that its variables are not asked for."""
    job = jobs.job(input=Embed((("a",),)), release=jobs.release(prompt_version_id=1))
    snapshot = Snapshot(services={}, releases={}, knobs={})
    assert await prompts.with_prompt(snapshot, job, {}) is job
