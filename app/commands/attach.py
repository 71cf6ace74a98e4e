"""`paddock` without a command: attach the screen to this home's box."""

from __future__ import annotations

from app import desk, tui


def attach(*, mouse: bool = False) -> None:
    """Draw the box until the person leaves; the node goes on."""
    tui.run(desk.home(), mouse=mouse)
