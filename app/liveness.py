"""Whether the node and its gateway answer now: both are asked at each look, at the same time.

The store says what was true when it was written; a process that is stopped or out of connections
writes nothing. An answer that takes longer than a second is none. It keeps no connection open.
Imported by `app.reader`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Final

import httpx

from app import node_client
from app.snapshot import Node, Person
from storage import errors
from storage.control_socket import client
from storage.home import config
from storage.home.paths import Home

ANSWER_S: Final = 1.0
_AGAIN: Final = 10  # looks after which the node is asked once more who is here


@dataclass(frozen=True, slots=True, kw_only=True)
class Unable:
    """A release of a service that gets traffic and cannot answer, with the reason."""

    service: str
    release: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """What the gateway said. `silence` is why it gave no answer, empty if it did."""

    silence: str = ""
    unable: tuple[Unable, ...] = ()
    unwritten: str = ""  # why requests and samples cannot be stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What node and gateway said."""

    node: Node = Node.ASKING
    person: Person
    url: str = ""  # where the gateway listens; by config.toml until the node has said it
    unwritten: str = ""  # why the node cannot store its facts
    gateway: Readiness = Readiness()


class Liveness:
    """Asks again and again; `answers` are the latest."""

    def __init__(self, home: Home, login: str, *, answer_s: float = ANSWER_S) -> None:
        self._home = home
        self._answer_s = answer_s
        self._known = 0  # looks for which the person's role is taken as known
        self._http = httpx.AsyncClient(
            timeout=answer_s,
            trust_env=False,  # past any proxy of the environment
            verify=False,  # noqa: S501 plain HTTP, for which loading certificates takes 20 ms
            limits=httpx.Limits(max_keepalive_connections=0),
        )
        self.answers = Answers(person=Person(name=login))

    async def look(self, gateway: config.Gateway) -> bool:
        """Ask both; whether anything differs from the last time.

        `gateway` is where config.toml has it, for a node that does not say.
        """
        before = self.answers
        if not before.url or not before.node.runs:
            self.answers = replace(before, url=node_client.url(self._home, gateway))
        asked = self.answers.url
        heard, ready = await asyncio.gather(
            self._ask_node(), ask_gateway(self._http, asked, self._answer_s)
        )
        if heard.url != asked:  # it listens elsewhere
            ready = await ask_gateway(self._http, heard.url, self._answer_s)
        self.answers = replace(heard, gateway=ready if heard.node.runs else Readiness())
        return self.answers != before

    async def close(self) -> None:
        """Release the HTTP client."""
        await self._http.aclose()

    async def _ask_node(self) -> Answers:
        before = replace(self.answers, unwritten="")
        try:
            async with asyncio.timeout(self._answer_s):
                person = await self._who()
                state = await client.state(self._home)
        except TimeoutError:
            return replace(before, node=Node.SILENT)
        except errors.NodeIsDown:
            self._known = 0
            return replace(before, node=Node.DOWN, person=Person(name=before.person.name))
        except errors.StorageError:  # it lives, and this person has no role
            self._known = 0
            return replace(before, node=Node.UP, person=Person(name=before.person.name))
        return replace(
            before,
            node=Node.UP,
            person=person,
            url=_url(state) or before.url,
            unwritten=str(state.get("trouble") or ""),
        )

    async def _who(self) -> Person:
        """Who the node takes this user for; roles change with its next start only."""
        if self._known > 0:
            self._known -= 1
            return self.answers.person
        said = await client.who(self._home)
        self._known = _AGAIN
        return Person(name=said.name, role=said.role)


async def ask_gateway(http: httpx.AsyncClient, url: str, answer_s: float) -> Readiness:
    """What /readyz says."""
    try:
        response = await http.get(f"{url}/readyz")
    except httpx.TimeoutException:
        return Readiness(silence=f"it gave no answer for {answer_s:g} s")
    except (httpx.HTTPError, httpx.InvalidURL):
        return Readiness(silence="it accepts no connection")
    try:
        said = response.json()
        unable = tuple(
            Unable(
                service=str(each["service"]),
                release=str(each["release"]),
                reason=str(each["reason"]),
            )
            for each in said["reasons"]
            if "service" in each
        )
        return Readiness(unable=unable, unwritten=str(said["recorder"]["trouble"] or ""))
    except (ValueError, KeyError, TypeError):
        status = HTTPStatus(response.status_code)
        return Readiness(silence=f"it answers {status.value} {status.phrase}")


def _url(state: dict[str, Any]) -> str:
    """Where the node says that the gateway listens; empty while it does not."""
    listens = state.get("gateway") or {}
    if not listens.get("port"):
        return ""
    return node_client.url_of(str(listens["host"]), int(listens["port"]))
