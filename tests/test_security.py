"""SECURITY.md promises what a test holds."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_promise_names_a_test_that_exists() -> None:
    """By file and function; a test that is renamed is renamed there, too."""
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "SECURITY.md").read_text())
    assert len(named) > 15
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not any(
            isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and each.name == name
            for each in ast.walk(ast.parse((ROOT / path).read_bytes()))
        )
    ]
    assert missing == []
