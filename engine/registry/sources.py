"""The source of a model file: a local path, an `https://` or an `hf://` address.

Addresses are parsed and, for the Hub, turned into URLs; nothing is opened here. Imported by
`engine.jobs`.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import quote, unquote, urlsplit

HUB: Final = "https://huggingface.co"
_REPO: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_REVISION: Final = re.compile(r"[\w./-]{1,120}", re.ASCII)
_NAME: Final = re.compile(r"[^\w.+-]+", re.ASCII)


class BadSource(Exception):
    """The address is invalid; the message shows a valid one."""


@dataclass(frozen=True, slots=True)
class Local:
    """A file of this machine, registered in place."""

    path: str


@dataclass(frozen=True, slots=True)
class Remote:
    """A file behind a URL. `token` is sent to that URL's own host only and never shown."""

    url: str
    file_name: str
    token: str | None = None

    @property
    def shown(self) -> str:
        """The URL as it is logged and stored: without its query, which may contain a signature."""
        return urlsplit(self.url)._replace(query="", fragment="").geturl()


@dataclass(frozen=True, slots=True)
class Hub:
    """A file of a repository of a Hub, at a revision (a branch, a tag or a commit)."""

    endpoint: str
    repository: str
    file: str
    revision: str
    token: str | None = None

    def at(self, revision: str) -> Remote:
        """The file's URL at a revision."""
        url = f"{self.endpoint}/{self.repository}/resolve/{quote(revision, safe='')}"
        return Remote(
            f"{url}/{quote(self.file)}", file_name(PurePosixPath(self.file).name), self.token
        )


Source = Local | Remote | Hub


def parse(address: str, environment: Mapping[str, str] | None = None) -> Source:
    """Parse an address; HF_ENDPOINT and HF_TOKEN come from the environment.

    Raises:
        BadSource: it is neither an absolute path nor a supported address.
    """
    settings = os.environ if environment is None else environment
    scheme = address.partition("://")[0].lower() if "://" in address else ""
    match scheme:
        case "":
            if not address.startswith("/"):
                raise BadSource(f"{address} is not an absolute path; begin it with /.")
            return Local(address)
        case "hf":
            return _hub(address, settings)
        case "https":
            return _remote(address)
        case "http":
            if _loopback(urlsplit(address).hostname or ""):
                return _remote(address)
            raise BadSource(
                f"{address} is not encrypted, so the file could be replaced in transit; use https."
            )
    raise BadSource(
        f"{address}: {scheme}:// is not supported; give a path, https://… or "
        "hf://owner/repository/file.gguf@revision."
    )


def file_name(name: str) -> str:
    """A safe file name: no folders, no control characters, never empty or hidden."""
    safe = _NAME.sub("_", name).lstrip(".")[-120:]
    return safe or "model.gguf"


def _remote(address: str) -> Remote:
    try:
        parts = urlsplit(address)
        port_ok = parts.port is None or parts.port > 0
    except ValueError as error:
        raise BadSource(f"{address} is not a URL: {error}.") from error
    if not parts.hostname or not port_ok:
        raise BadSource(f"{address} is not a URL: it names no host.")
    if parts.username is not None or parts.password is not None:
        raise BadSource("A password in a URL would be recorded; remove it.")
    return Remote(address, file_name(PurePosixPath(unquote(parts.path)).name))


def _hub(address: str, settings: Mapping[str, str]) -> Hub:
    path, at, revision = address[len("hf://") :].partition("@")
    revision = revision if at else "main"
    owner, _, rest = path.partition("/")
    name, _, file = rest.partition("/")
    repository = f"{owner}/{name}"
    pieces = file.split("/")
    if (
        not _REPO.fullmatch(repository)
        or not _REVISION.fullmatch(revision)
        or ".." in revision
        or any(piece in {"", ".", ".."} for piece in pieces)
    ):
        raise BadSource(
            f"{address} does not name a file of a repository; "
            "write hf://owner/repository/file.gguf@revision."
        )
    endpoint = (settings.get("HF_ENDPOINT") or HUB).rstrip("/")
    if urlsplit(endpoint).scheme not in {"http", "https"}:
        raise BadSource(f"HF_ENDPOINT is {endpoint}; it has to begin with https://.")
    return Hub(endpoint, repository, file, revision, settings.get("HF_TOKEN") or None)


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
