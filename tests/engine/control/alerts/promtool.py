"""What `promtool test rules` says of series and expressions.

promtool prints what it got wherever that is not what a test expects, so every test expects
something that cannot be, and one run answers for all of them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import yaml

from tests.engine.control.alerts.promtool_cases import INTERVAL_S, Written

WHY_NOT: Final = (
    "promtool is not installed (Debian's package prometheus; PADDOCK_PROMTOOL names another)"
)
FAULTY: Final = "faulty"

Verdict = "list[tuple[dict[str, str], str]] | str"
"""The elements as (labels, value), or FAULTY."""

_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def found() -> str | None:
    """The path of promtool, None where there is none."""
    return os.environ.get("PADDOCK_PROMTOOL") or shutil.which("promtool")


def evaluate(
    groups: Sequence[tuple[Sequence[Written], Sequence[tuple[str, int]]]], folder: Path
) -> list[list[object]]:
    """For each group of series the verdict on each of its expressions at a second."""
    tool = found()
    assert tool is not None
    document = {
        "rule_files": [],
        "evaluation_interval": f"{INTERVAL_S}s",
        "tests": [
            {
                "interval": f"{INTERVAL_S}s",
                "input_series": [{"series": s.head, "values": s.text} for s in written],
                "promql_expr_test": [
                    {
                        "expr": expression,
                        "eval_time": f"{at}s",
                        "exp_samples": [{"labels": "never", "value": number}],
                    }
                    for number, (expression, at) in enumerate(asked)
                ],
            }
            for written, asked in groups
        ],
    }
    path = folder / "tests.yml"
    path.write_text(yaml.safe_dump(document, width=100_000))
    done = subprocess.run(
        [tool, "test", "rules", str(path)], capture_output=True, text=True, check=False
    )
    said = done.stdout + done.stderr
    blocks = re.split(r"(?m)^ {4}expr: ", said)[1:]
    verdicts = [_verdict(block) for block in blocks]
    assert len(verdicts) == sum(len(asked) for _, asked in groups), said[:2000]
    remaining = iter(verdicts)
    return [[next(remaining) for _ in asked] for _, asked in groups]


def _verdict(block: str) -> object:
    got = re.search(r"(?m)^\s+got: ?(.*)$", block)
    if got is None:
        assert "err" in block, block
        return FAULTY
    if got[1] == "nil":
        return []
    return [(dict(_LABEL.findall(labels)), value) for labels, value in _elements(got[1])]


def _elements(said: str) -> list[tuple[str, str]]:
    """`{a="b"} 1E+00, name{} 2E+00`: a name before the braces is printed as one."""
    elements = []
    for name, labels, value in re.findall(r"([a-zA-Z_:]\w*)?\{([^}]*)\} ([^\s,]+)", said):
        elements.append((f'__name__="{name}",{labels}' if name else labels, value))
    return elements
