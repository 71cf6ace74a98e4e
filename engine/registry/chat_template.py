"""Whether a model's chat template works, and whether it takes a system message.

Checked when the model is added, not at the first request. The template is untrusted and may use
unbounded time and memory, so it is tried in a separate process. Imported by `engine.jobs` and
`gguf_header`.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from dataclasses import dataclass
from typing import Final

import msgspec

from engine.prompting.chat_template import CHATML
from engine.registry import template_trial
from engine.registry.template_trial import CPU_S, MEMORY, Source
from storage.model_checks import Chat, Template

WALL_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class ChatSource:
    """A file's chat template, and the texts of its BOS and EOS tokens."""

    template: str | None
    bos: str
    eos: str


async def check(source: ChatSource) -> Chat:
    """The result of rendering short conversations, with and without a system message."""
    own = source.template is not None
    trial = Source(
        kind=Template.OWN if own else Template.CHATML,
        template=source.template or CHATML,
        bos=source.bos,
        eos=source.eos,
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", template_trial.__name__),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(WALL_S):
            said, _ = await process.communicate(msgspec.json.encode(trial))
        return msgspec.json.decode(said, type=Chat)
    except (TimeoutError, msgspec.MsgspecError):
        return Chat(
            template=trial.kind,
            works=False,
            takes_system=False,
            reason=f"rendering it takes more than {CPU_S} s or {MEMORY // 2**20} MiB",
        )
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
