"""The gateway's internal socket: jobs and scores of this box's own processes, without HTTP.

Only for the user that the gateway runs as. A connection carries one request, which is cancelled
when the client closes the connection. Jobs are recorded like those of HTTP clients, once by id: a
job whose id was used is refused, because it could not be recorded.
Imported by `engine.gateway.server`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from typing import Final

import msgspec
import structlog

from engine.execution import failures, frames
from engine.execution.execute import Executor
from engine.execution.job import Job
from engine.execution.previews import Previews
from engine.process.connections import Connections
from engine.process.listening import Listening
from engine.process.peers import Limits, Peer
from storage.home.paths import Home

CONNECTIONS_LIMIT: Final = 256
REQUEST_S: Final = 10.0
"""How long a client may take to send its request."""
IDS_LIMIT: Final = 10_000
"""The latest jobs whose ids cannot be used again; clients choose ids at random."""
_EVENTS: Final = 1000
"""Events in one frame at most."""
_RETRY_US: Final = 1_000_000

_log = structlog.get_logger("gateway.internal_socket")


class InternalSocket:
    """Listens from `start` to `close`."""

    def __init__(
        self,
        home: Home,
        executor: Executor,
        previews: Previews,
        *,
        gateway_id: str,
        now_us: Callable[[], int],
        monotonic_us: Callable[[], int],
    ) -> None:
        self._connections = Connections(
            Limits("gateway.internal_socket", per_user=0, others=0, own=CONNECTIONS_LIMIT),
            converse=self._converse,
            refuse=self._busy,
            ends=(asyncio.IncompleteReadError,),
        )
        self._listening = Listening(home.gateway_socket, self._connections.serve, folder=True)
        self._executor = executor
        self._previews = previews
        self._gateway_id = gateway_id
        self._now_us = now_us
        self._monotonic_us = monotonic_us
        self._executing: set[asyncio.Task[None]] = set()
        self._ids: dict[str, None] = {}

    async def start(self) -> None:
        """Listen, in place of an earlier gateway."""
        await self._listening.start()

    async def drain(self, within_s: float) -> None:
        """Accept nothing more, and wait for the requests under way, for so long at most."""
        self._listening.stop()
        self._connections.end(but=self._executing)
        if self._executing:
            await asyncio.wait(self._executing, timeout=within_s)

    async def close(self) -> None:
        """Accept nothing more and cancel what is left; call it after the backends are closed."""
        self._listening.stop()
        await self._connections.close()

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, who: Peer
    ) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 asyncio runs this in a task
        if who.uid != os.geteuid():
            return
        try:
            await self._serve(task, reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            raise  # the client has gone
        except Exception:  # noqa: BLE001 a faulty request must not look like a stopped gateway
            _log.exception("a request failed")
            _refuse(
                writer, failures.Broken("internal error; see the gateway's log", code="internal")
            )
        finally:
            self._executing.discard(task)

    async def _busy(self, writer: asyncio.StreamWriter, why: str) -> None:
        _refuse(
            writer,
            failures.Overloaded(
                f"the internal socket is busy: {why}",
                code="connections",
                retry_after_us=_RETRY_US,
            ),
        )

    async def _serve(
        self,
        task: asyncio.Task[None],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        try:
            async with asyncio.timeout(REQUEST_S):
                request = await frames.read_request(reader)
            self._executing.add(task)
            async with asyncio.timeout(request.deadline_us / 1e6):
                await self._execute(request, reader, writer)
        except failures.Failure as failure:
            _refuse(writer, failure)
        except frames.FrameError as error:
            _refuse(writer, failures.Invalid(f"not a request: {error}", code="invalid_frame"))
        except TimeoutError:
            _refuse(
                writer, failures.Unavailable("it did not end within its deadline", code="deadline")
            )
        with contextlib.suppress(TimeoutError):  # a client that does not read it loses the end
            async with asyncio.timeout(REQUEST_S):
                await writer.drain()

    async def _execute(
        self, request: frames.Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if isinstance(request, frames.RunScore | frames.RunPreview):
            answering = asyncio.ensure_future(self._answer(request))
            try:
                async with _watched(reader, answering.cancel):
                    await asyncio.wait([answering])
            finally:
                answering.cancel()
            if not answering.cancelled():  # else the client has gone
                writer.write(frames.encode(answering.result()))
            return
        self._use(request.job.id)
        async with (
            self._executor.run(self._arrived(request.job)) as execution,
            _watched(reader, execution.cancel),
        ):
            async for events in execution:
                for first in range(0, len(events), _EVENTS):
                    part = frames.Events(events[first : first + _EVENTS])
                    writer.write(frames.encode(part))
                    await writer.drain()

    async def _answer(self, request: frames.RunScore | frames.RunPreview) -> frames.Response:
        if isinstance(request, frames.RunScore):
            return frames.Result(await self._executor.score(request.score))
        return await self._previews.preview(
            request.prompt_id, request.variables, request.model, request.user
        )

    def _use(self, id: str) -> None:
        """Take the id of a job.

        Raises:
            failures.Invalid: another job has or had it.
        """
        if id in self._ids:
            raise failures.Invalid(
                f"the id {id} was used by another job; each attempt needs a new one",
                code="duplicate_id",
            )
        self._ids[id] = None
        if len(self._ids) > IDS_LIMIT:
            del self._ids[next(iter(self._ids))]

    def _arrived(self, job: Job) -> Job:
        """The job as it arrived at this gateway, now."""
        return msgspec.structs.replace(
            job,
            at_us=self._now_us(),
            arrived_us=self._monotonic_us(),
            via=(*job.via, self._gateway_id),
        )


@contextlib.asynccontextmanager
async def _watched(reader: asyncio.StreamReader, gone: Callable[[], object]) -> AsyncIterator[None]:
    """Call `gone` if the client closes its connection during the body."""
    watch = asyncio.ensure_future(reader.read(1))
    watch.add_done_callback(lambda done: None if done.cancelled() else gone())
    try:
        yield
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)


def _refuse(writer: asyncio.StreamWriter, failure: failures.Failure) -> None:
    writer.write(frames.encode(frames.failed(failure)))
