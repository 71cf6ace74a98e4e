"""`paddock` without a command: attach the screen to this home's box.

Never imports `app.session`: the libraries of the store would be loaded before the first frame.
"""

from __future__ import annotations

from app import tui
from storage.home import paths as homes


def attach(*, mouse: bool = False) -> None:
    """Draw the box until the person leaves; the node goes on."""
    tui.run(homes.find(), mouse=mouse)
