"""A picture of a running box's screen, as SVG: `python -m tools.screen_picture HOME > FILE`.

`docs/pulse.svg` is such a picture of `make demo`, some minutes after its start. It only reads.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Final

from app.tui import Tui
from storage.home.paths import Home

SIZE: Final = (120, 40)
_LOOKS: Final = 100
_LOOK_S: Final = 0.2


async def picture(home: Home) -> str:
    """The pulse, once the node has said who is looking."""
    app = Tui(home, chart="block")
    async with app.run_test(size=SIZE) as pilot:
        for _ in range(_LOOKS):
            await pilot.pause(_LOOK_S)
            header = app.current.header
            if app.current.pulse is not None and header.person.role:
                await pilot.pause(_LOOK_S)
                return app.export_screenshot()
    raise SystemExit(f"No node answers in {home.root}.")


if __name__ == "__main__":
    sys.stdout.write(asyncio.run(picture(Home(Path(sys.argv[1]).resolve()))))
