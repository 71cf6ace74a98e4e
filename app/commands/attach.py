"""`paddock` without a command: attach the screen to this home's box.

Never imports `app.session`, which would load the libraries of the store before the first frame.
"""

from __future__ import annotations

import typer

from app import tui
from storage.home import paths as homes


def attach(*, mouse: bool = False) -> None:
    """Show the screen until the person quits; the node keeps running."""
    if code := tui.run(homes.find(), mouse=mouse):
        raise typer.Exit(code)
