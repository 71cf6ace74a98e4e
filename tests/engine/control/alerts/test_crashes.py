"""A real control process is killed while it sends, and started again."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from storage import notifications
from storage.notifications import State
from tests.engine.control.alerts.outboxes import made
from tests.engine.webhooks import hooks
from tests.engine.webhooks.hooks import Does


async def control(root: Path) -> asyncio.subprocess.Process:
    """A control process of a home."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "engine.control", "--home", str(root),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.soak
async def test_what_a_killed_control_was_sending_arrives_under_the_same_id(tmp_path: Path) -> None:
    """Twice, because it may not have arrived, under one id; then it is recorded as sent."""
    async with made(tmp_path) as outbox, hooks.served(Does.HANG, hooks.YES) as hook:
        await outbox.add("ops", hook.url)
        outbox.now_us = 1
        await outbox.queue("ops")
        store = outbox.box.store
        first = await control(store.home.root)
        await hook.arrived.wait()
        first.kill()
        await first.wait()
        assert await outbox.states() == [State.SENDING]
        second = await control(store.home.root)
        try:
            async with asyncio.timeout(200):
                while await outbox.states() != [State.SENT]:
                    await store.wait_changed(1.0)
        finally:
            second.send_signal(signal.SIGTERM)
            await second.wait()
        assert len(hook.ids) == 2
        assert len(set(hook.ids)) == 1
        async with store.read() as s:
            assert await notifications.backlog(s) == {}
