"""A terminal that can be looked at: the program in a tmux of its own, 80 by 24.

Imported by tests that press keys and read what stands on the screen.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import pytest

PATIENCE_S: Final = 120.0

needs_tmux = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")


class Tmux:
    """A terminal that can be looked at."""

    def __init__(
        self, folder: Path, command: Sequence[object], environment: Mapping[str, str]
    ) -> None:
        self._base = ["tmux", "-u", "-f", "/dev/null", "-S", str(folder / "tmux")]
        self._environment = environment
        self.do("new-session", "-d", "-x", "80", "-y", "24", *map(str, command))

    def do(self, *words: str) -> str:
        """One command of tmux."""
        return subprocess.run(
            [*self._base, *words], env=self._environment, capture_output=True, text=True, check=True
        ).stdout

    def press(self, *keys: str) -> None:
        """Type."""
        self.do("send-keys", *keys)

    def screen(self) -> str:
        """What the terminal shows."""
        return self.do("capture-pane", "-p")

    def until(self, text: str, *, gone: bool = False, row: int = 0) -> str:
        """Wait until a text appears, or disappears; the screen as it is then.

        With `row` the text is looked for in that row alone, the first being 1.
        """
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            shown = self.screen()
            within = shown.split("\n")[row - 1] if row else shown
            if (text in within) != gone:
                return shown
        raise AssertionError(f"{text!r} {'stays' if gone else 'never came'}:\n{self.screen()}")

    def close(self) -> None:
        """End it and all that runs in it."""
        subprocess.run(
            [*self._base, "kill-server"], env=self._environment, capture_output=True, check=False
        )
