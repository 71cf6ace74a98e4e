"""Servers of other projects that tests start on loopback.

Imported by tests.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

_LOOKS: Final = 480  # a quarter of a second apart


@contextmanager
def running(words: Sequence[str], log: Path, url: str) -> Iterator[None]:
    """A server with everything that it starts, from when it answers at a URL until the end."""
    with log.open("wb") as file:
        process = subprocess.Popen(words, stdout=file, stderr=file, start_new_session=True)
    try:
        for _ in range(_LOOKS):
            if _answers(url):
                break
            try:
                process.wait(0.25)
            except subprocess.TimeoutExpired:
                continue
            raise AssertionError(log.read_text())
        else:
            raise AssertionError(log.read_text())
        yield
    finally:
        if process.poll() is None:
            os.killpg(process.pid, 15)
        process.wait(30)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.HTTPError:
        return False
