"""Environments with clients that Paddock does not depend on, kept beside the bench's downloads.

They are made where `make soak` asks for what is missing; a test without its environment is skipped.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import peers


def program(name: str, *packages: str) -> Path:
    """A command of an environment that has these packages, each pinned."""
    key = hashlib.sha256(repr((sys.version_info[:2], packages)).encode()).hexdigest()[:12]
    home = peers.cache() / "clients" / key
    if not (home / "finished").exists():
        if not os.environ.get("PADDOCK_BUILD_PEERS"):
            pytest.skip(f"{packages[0]} is not installed apart: `make soak` does it")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
        python = str(home / "bin" / "python")
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        (home / "finished").touch()
    return home / "bin" / name
