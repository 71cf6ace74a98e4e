"""The running instances of one deployment, and which of them gets a request.

Holds requests that no instance can take, resends those that an instance lost, and keeps the chat
template that the instances share. Never starts or stops a process. Imported by
`engine.backends.fleet` and `local`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from engine.backends import least_loaded
from engine.backends.expected_starts import ExpectedStarts
from engine.backends.pending import PENDING_LIMIT, PendingRequests, Receiver
from engine.backends.prefix_affinity import Affinity, Hashed
from engine.backends.worker_client import Result, ResultReceiver, WorkerClient
from engine.execution import failures
from engine.prompting.chat_template import ChatTemplate
from engine.prompting.renderer.pool import Renderer
from engine.serving import wire

SILENCE_US: Final = 10_000_000
"""An instance that computes nothing for so long although it has requests is stuck."""
_PREPARE_AGAIN_S: Final = 1.0

Connect = Callable[[str, "Pool"], WorkerClient]
"""Makes the client of an instance, by its name."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One running copy; `task` keeps its client connected."""

    name: str
    client: WorkerClient
    task: asyncio.Task[None]
    affinity: Affinity = field(default_factory=Affinity)


class Pool:
    """One deployment. `instances` get requests; released ones finish theirs."""

    def __init__(
        self,
        deployment: str,
        connect: Connect,
        renderer: Renderer,
        starts: ExpectedStarts,
        *,
        now_us: Callable[[], int],
    ) -> None:
        """`now_us` is monotonic; `renderer` renders the chat template."""
        self._renderer = renderer
        self._starts = starts
        self._preparing: asyncio.Task[None] | None = None
        self._connect = connect
        self._pending = PendingRequests(now_us, self._failed, self._retry_us)
        self._released: list[Instance] = []
        self._introduced: asyncio.Future[ChatTemplate] = asyncio.get_running_loop().create_future()
        self._abandoned: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting = 0
        self._picked = -1
        self._hashed = Hashed()
        self.deployment = deployment
        self.instances: dict[str, Instance] = {}

    @property
    def context_tokens(self) -> int:
        """The most tokens of one sequence; 0 before an instance has connected."""
        hellos = (each.client.hello for each in self.connected)
        return max((hello.sequence_tokens for hello in hellos if hello), default=0)

    @property
    def template(self) -> ChatTemplate | None:
        """The model's chat template, None until an instance was connected and it was tried."""
        return self._introduced.result() if self._introduced.done() else None

    @property
    def pending(self) -> PendingRequests:
        """The requests that its instances share."""
        return self._pending

    @property
    def busy(self) -> bool:
        """Whether any request has not ended."""
        return self._pending.count > 0

    @property
    def held(self) -> int:
        """The requests that no instance counts: not sent to one, or not yet read by it."""
        unread = sum(each.client.unread for each in self.everything)
        return self._waiting + self._pending.held_count + unread

    @property
    def everything(self) -> list[Instance]:
        """All instances, including released ones."""
        return [*self.instances.values(), *self._released]

    @property
    def connected(self) -> list[Instance]:
        """The instances that have a worker."""
        return [each for each in self.instances.values() if each.client.hello is not None]

    # which instances there are

    def follow(
        self,
        names: Iterable[str],
        knobs: Mapping[str, int],
        adapters: Mapping[str, wire.LoadAdapter],
    ) -> None:
        """Connect to these instances, release the others, and set knobs and adapters of all."""
        wanted = list(names)
        for name in wanted:
            if name not in self.instances:
                self.instances[name] = self._reclaim(name) or self._start(name)
        for name in self.instances.keys() - set(wanted):
            self._released.append(self.instances.pop(name))
        for instance in self.instances.values():
            instance.client.want_knobs(knobs)
            instance.client.want_adapters(adapters)
            instance.client.poke()
        self.dispatch()

    def load(self, adapter: wire.LoadAdapter) -> None:
        """Load an adapter that no split names beside the others; it is unloaded when unused."""
        for instance in self.instances.values():
            if not instance.client.serves(adapter.adapter):
                instance.client.want_adapter(adapter)

    def sweep(self) -> None:
        """Disconnect from released instances that are idle."""
        for instance in [each for each in self._released if not each.client.busy]:
            instance.client.close()
            self._released.remove(instance)

    async def close(self, why: str) -> None:
        """End everything with a reason, and disconnect."""
        self._pending.refuse_all(why)
        for instance in self.everything:
            instance.client.close(why)
        tasks = [each.task for each in self.everything]
        if self._preparing is not None:
            self._preparing.cancel()
            tasks.append(self._preparing)
        await asyncio.gather(*tasks, return_exceptions=True)

    def greeted(self, hello: wire.Hello) -> None:
        """An instance has connected; all of them have the same model, and so one template."""
        if self._preparing is None:
            template = ChatTemplate.of(hello, self._renderer)
            self._preparing = asyncio.create_task(self._prepare(template), name="chat template")

    async def _prepare(self, template: ChatTemplate) -> None:
        while True:
            try:
                await template.prepare()
            except failures.Failure:  # it says nothing about the template
                await asyncio.sleep(_PREPARE_AGAIN_S)
            else:
                self._introduced.set_result(template)
                return

    async def introduced(self, within_s: float) -> ChatTemplate:
        """The template; wait for the first instance if there never was one.

        Raises:
            failures.Unavailable: none came in time, or too many requests wait for one already.
        """
        if self._introduced.done():
            return self._introduced.result()
        if self._waiting >= PENDING_LIMIT:
            raise failures.Unavailable(
                f"{self.deployment} is not running and {PENDING_LIMIT} requests wait for it",
                code="worker_unavailable",
                retry_after_us=self._retry_us(),
            )
        self._waiting += 1
        abandoned = self._abandoned
        try:
            await asyncio.wait(
                (self._introduced, abandoned),
                timeout=within_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            self._waiting -= 1
        if self._introduced.done():
            return self._introduced.result()
        if abandoned.done():
            raise failures.Unavailable(abandoned.result(), code="release_unavailable")
        raise failures.Unavailable(
            f"{self.deployment} did not start within {within_s:g} s",
            code="worker_unavailable",
            retry_after_us=self._retry_us(),
        )

    def _retry_us(self) -> int:
        return self._starts.retry_us(self.deployment)

    # requests

    def submit(self, item: wire.Request, receiver: Receiver) -> int:
        """Have the instance with the least work answer; return the id of the request."""
        request = self._pending.add(item, receiver)
        client = self._pick(item)
        if client is None or not client.send(request):
            self._pending.hold(request)
        return request.item.id

    async def score(self, score: wire.Score) -> wire.Scored:
        """Score a continuation on the instance with the least work.

        Raises:
            Refusal: no instance can, or not in time.
        """
        return await self._result(score, wire.Scored)

    async def tokens(self, request: wire.Tokenise | wire.Detokenise) -> wire.Tokenised:
        """The tokens of a prompt, or the bytes of tokens, by any instance.

        Raises:
            Refusal: no instance can tell, or not in time.
        """
        return await self._result(request, wire.Tokenised)

    async def _result(self, request: wire.Request, kind: type[Result]) -> Result:
        receiver = ResultReceiver(kind)
        id = self.submit(request, receiver)
        return await receiver.result(lambda: self.cancel(id))

    def refuse_held(self, adapter: str, why: str) -> None:
        """Refuse the requests for an adapter that no instance has: waiting does not help."""
        for request in self._pending.held():
            if request.item.adapter == adapter:
                self._pending.refuse(request, "unavailable", why)

    def refuse_waiting(self, why: str) -> None:
        """Refuse the requests that wait for a first instance: none will come."""
        if self._waiting and not self._abandoned.done():
            self._abandoned.set_result(why)
            self._abandoned = asyncio.get_running_loop().create_future()

    def cancel(self, id: int) -> None:
        """Stop a sequence; its receiver gets `finished` with the final count."""
        self._pending.cancel(id)

    def instance_of(self, id: int) -> str:
        """The name of the instance that has a sequence, "" while none has it."""
        request = self._pending.get(id)
        worker = None if request is None else request.worker
        return next((each.name for each in self.everything if each.client is worker), "")

    def dispatch(self) -> None:
        """Send what is held to the instances that can take it."""
        for request in self._pending.held():
            client = self._pick(request.item)
            if client is not None:
                client.send(request)

    def _pick(self, item: wire.Request) -> WorkerClient | None:
        """The instance for a request; None if none would compute it now.

        One that was sent the beginning of its prompt before, if it has not much more to do.
        """
        instances = list(self.instances.values())
        clients = [each.client for each in instances]
        blocks: tuple[int, ...] = ()
        if len(instances) > 1 and isinstance(item, wire.Submit | wire.Score):
            blocks = self._hashed.of(item)
        shares = [each.affinity.share(blocks) for each in instances]
        loads = [client.load if client.serves(item.adapter) else None for client in clients]
        heard = [None if c.late_us else load for c, load in zip(clients, loads, strict=True)]
        picked = least_loaded.pick(heard, self._picked, shares)
        if picked is None:  # those that are silent may recover
            picked = least_loaded.pick(loads, self._picked, shares)
        if picked is None:
            return None
        self._picked = picked
        instances[picked].affinity.sent(blocks)
        return clients[picked]

    # readiness

    def failed(self, adapter: str) -> str | None:
        """Why no instance can load an adapter; None while one might."""
        return self._failed().get(adapter)

    def unready(self, adapter: str) -> str | None:
        """Why no instance would compute a request now, as a clause; None when one would."""
        connected = self.connected
        if not connected:
            return f"no instance of {self.deployment} is connected"
        serving = [each for each in connected if each.client.serves(adapter)]
        if not serving:
            if any(adapter in each.client.loaded for each in connected):
                return f"every instance of {self.deployment} is draining"
            return f"{self.deployment} is loading the adapter"
        late_us = min(each.client.late_us for each in serving)
        if late_us:
            return f"{self.deployment} has been silent for {late_us / 1e6:.1f} s"
        silent_us = min(each.client.silent_us for each in serving)
        if silent_us > SILENCE_US:
            return (
                f"{self.deployment} computed nothing for {silent_us // 1_000_000} s although "
                "requests wait"
            )
        return None

    def _failed(self) -> dict[str, str]:
        """The adapters that no connected instance could load."""
        failed = [each.client.failed for each in self.connected]
        if not failed:
            return {}
        return {
            name: reason
            for name, reason in failed[0].items()
            if all(name in other for other in failed)
        }

    def _reclaim(self, name: str) -> Instance | None:
        """A released instance that is still busy: a worker serves one connection at a time."""
        for instance in self._released:
            if instance.name == name:
                self._released.remove(instance)
                return instance
        return None

    def _start(self, name: str) -> Instance:
        client = self._connect(name, self)
        task = asyncio.create_task(client.run(), name=f"instance {name}")
        return Instance(name, client, task)
