"""Reading runbooks from YAML: validated whole, so that a run never meets an unknown probe or verb.

An error names the file, the line, the step and what is wrong. Never runs anything. Imported by
`runbooks` and `app`.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from runbooks import lint, yaml_lines
from runbooks.steps import Runbook

LIBRARY: Final = pathlib.Path(__file__).parent / "library"


class BadRunbook(Exception):
    """A runbook cannot be read; the message names the file, the line and what is wrong."""


def read(path: Path, *, probes: Mapping[str, Any], verbs: Mapping[str, Any]) -> Runbook:
    """One runbook.

    Raises:
        BadRunbook: with the file, the line, the step and what is wrong first.
    """
    book, faults = check(path, probes=probes, verbs=verbs)
    if book is None or faults:
        raise BadRunbook(faults[0])
    return book


def check(
    path: Path, *, probes: Mapping[str, Any], verbs: Mapping[str, Any]
) -> tuple[Runbook | None, list[str]]:
    """A runbook, None where it has not even the form of one, and all that is wrong with it."""
    try:
        document = yaml_lines.Document(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        return None, [f"{path.name}: cannot be read: {why}"]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = 1 if mark is None else mark.line + 1
        why = getattr(error, "problem", None) or str(error)
        return None, [f"{path.name}:{line}: cannot be read: {why}"]
    try:
        book = msgspec.convert(document.said, Runbook)
    except msgspec.ValidationError as error:
        said = str(error)
        line = document.line(yaml_lines.path(said))
        return None, [f"{path.name}:{line}: {_where(document.said, said)}"]
    faults = [
        f"{path.name}:{document.line(fault.path)}: {fault.sentence}"
        for fault in lint.faults(book, path.stem, probes, verbs)
    ]
    return book, faults


def _where(raw: Any, said: str) -> str:
    """The words of the validation with the step's name instead of its place in a list."""
    found = re.search(r"\$\.steps\[(\d+)\]", said)
    try:
        step = raw["steps"][int(found[1])]["name"] if found else None
    except (KeyError, TypeError, IndexError):
        step = found and f"number {int(found[1]) + 1}"
    return f"step {step}: {said}" if step else said
