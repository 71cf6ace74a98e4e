"""The bytes that readers of strangers' bytes once choked on, and some that were not thought of."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz import seeds, targets

CASES = Path(__file__).parent / "cases"
KNOWN = [
    pytest.param(name, path, id=f"{name}-{path.name}")
    for name in targets.TARGETS
    for path in sorted((CASES / name).glob("*"))
]


@pytest.mark.parametrize(("name", "path"), KNOWN)
def test_a_known_case_is_refused_as_declared(name: str, path: Path) -> None:
    """Only the errors that a reader declares leave it."""
    targets.TARGETS[name](path.read_bytes())


@pytest.mark.parametrize("name", targets.TARGETS)
def test_every_case_belongs_to_a_target(name: str) -> None:
    """So that none is forgotten when a target is renamed."""
    assert {each.name for each in CASES.iterdir() if each.is_dir()} <= set(targets.TARGETS)
    assert name.isidentifier()


@pytest.mark.parametrize("name", targets.TARGETS)
def test_seeds_are_read(name: str) -> None:
    """A search begins with inputs that a reader takes."""
    for seed in seeds.of(name):
        targets.TARGETS[name](seed)


@given(st.sampled_from(sorted(targets.TARGETS)), st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_as_declared(name: str, data: bytes) -> None:
    """The same of bytes at random."""
    targets.TARGETS[name](data)
