"""The garbage collector while a process imports its libraries."""

from __future__ import annotations

import gc

import pytest

from storage.runtime import collector


def test_what_was_made_while_it_paused_is_not_looked_through_again() -> None:
    """A faulty import leaves the collector at work, too."""
    before = gc.get_freeze_count()
    with collector.paused():
        assert not gc.isenabled()
        kept = [[number] for number in range(1_000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= before + len(kept)
    with pytest.raises(ImportError), collector.paused():
        raise ImportError
    assert gc.isenabled()
