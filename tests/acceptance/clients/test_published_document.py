"""Ten thousand requests that the OpenAPI document allows, and worse: all answered as it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.clients import environments

pytestmark = [pytest.mark.soak, pytest.mark.timeout(5400)]

REQUESTS = 10_000
EXAMPLES = 150
"""Of each operation, beside those of its limits, which are the most."""


def test_whatever_the_document_allows_is_answered_as_it_says() -> None:
    """No answer is a fault of the server, and each has the status, type and schema described.

    What counts is the answers: schemathesis fails, too, where it cannot make an example itself.
    """
    program = environments.program("schemathesis", "schemathesis==4.32.5")
    command = [
        *(sys.executable, "-m", "tests.fuzz.requests", "--program", str(program)),
        *("--examples", str(EXAMPLES), "--", "--continue-on-failure"),
    ]
    root = Path(__file__).parents[3]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    tried = re.search(r"^ *([\d,]+) generated, \1 passed$", done.stdout, re.MULTILINE)
    assert tried is not None, done.stdout[-8000:] + done.stderr[-2000:]
    assert int(tried[1].replace(",", "")) >= REQUESTS
