"""What the tests of execution share."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
import structlog

from storage.runtime import logs


@pytest.fixture(autouse=True)
def log() -> Iterator[io.StringIO]:
    """The log as the parts keep it; pytest's own would meet the full disk."""
    lines = io.StringIO()
    logs.configure(lines)
    yield lines
    structlog.reset_defaults()
