"""Faults of files: a model that was cut off, a disk that is full.

No alert rule is about them: the refusal is an answer to the person or the process that asked, and
the disk is one of the drill's own. Imported by `runbooks.drills.faults`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys

import msgspec

from runbooks.drills import site
from runbooks.drills.drill import Fault, Scene
from runbooks.drills.load import Ask
from storage.intents import State


class CorruptModel(Fault):
    """A model file that was cut off; it is refused, and the service keeps answering."""

    async def prepare(self, scene: Scene) -> None:
        """A quiet client, and the file."""
        scene.load.ask(Ask(), 1)
        await scene.measured()
        path = scene.scratch / "cut-off.gguf"
        await asyncio.to_thread(shutil.copyfile, site.shipped(), path)
        os.truncate(path, path.stat().st_size // 2)
        scene.noted["path"] = str(path)

    async def inject(self, scene: Scene) -> None:
        """Add it as a model."""
        added = {"model": "drill-cut-off", "version": "1.0.0", "path": scene.noted["path"]}
        ended = await scene.site.ask("models.add", "drill-cut-off", added)
        if ended.state is State.APPLIED:
            raise site.Broken("the file was added as a model")
        scene.noted["refused"] = ended.outcome or "it was refused"

    async def measured(self, scene: Scene) -> str | None:
        """It was refused, with the reason."""
        said = scene.noted.get("refused")
        return None if said is None else str(said)

    async def acted(self, scene: Scene) -> str | None:
        """Refusing it was all that was needed."""
        return "the file was refused" if "refused" in scene.noted else None

    async def recovered(self, scene: Scene) -> bool:
        """The service answers as before."""
        return await scene.answers()


class DiskFull(Fault):
    """A scratch store whose files may not grow; room comes back, and nothing was lost."""

    needs_service = False

    async def inject(self, scene: Scene) -> None:
        """A process with a limit; what it says is read as it comes."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "runbooks.drills.disk", str(scene.scratch / "store"),
            str(os.getpid()),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            said, _ = await process.communicate()
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        for line in said.splitlines():
            found = msgspec.json.decode(line)
            scene.noted[found["what"]] = found["why"] or str(found["rows"])
            scene.noted[f"{found['what']}_at_us"] = found["at_us"]

    async def measured(self, scene: Scene) -> str | None:
        """The store refused a write, with the reason."""
        said = scene.noted.get("full")
        return None if said is None else str(said)

    async def acted(self, scene: Scene) -> str | None:
        """There was room again."""
        return "there was room again" if "room" in scene.noted else None

    async def recovered(self, scene: Scene) -> bool:
        """It writes again, and every row that was acknowledged is there."""
        return "kept" in scene.noted
