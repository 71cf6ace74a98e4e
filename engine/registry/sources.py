"""The source of a model file: a path, `https://`, `hf://`, `mlflow:` or an address of fsspec.

Addresses are parsed and, for the Hub, turned into URLs; nothing is opened here. Imported by
`engine.jobs` and `engine.registry`.
"""

from __future__ import annotations

import base64
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
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]{0,30}", re.ASCII)
_MLFLOW: Final = re.compile(
    r"mlflow:models:/(?P<name>[^/@:]{1,200})(/(?P<version>\d{1,9})|@(?P<alias>[\w-]{1,100}))?",
    re.ASCII,
)
_NAME: Final = re.compile(r"[^\w.+-]+", re.ASCII)


class BadSource(Exception):
    """The address is invalid; the message shows a valid one."""


@dataclass(frozen=True, slots=True)
class Local:
    """A file of this machine, registered in place."""

    path: str


@dataclass(frozen=True, slots=True)
class Remote:
    """A file behind a URL.

    `authorization` is the header that is sent to that URL's own host only, and never shown.
    """

    url: str
    file_name: str
    authorization: str | None = None

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
            f"{url}/{quote(self.file)}",
            file_name(PurePosixPath(self.file).name),
            self.authorization,
        )

    @property
    def authorization(self) -> str | None:
        """The header with the token."""
        return None if self.token is None else f"Bearer {self.token}"


@dataclass(frozen=True, slots=True)
class Filesystem:
    """A file of a file system that fsspec knows."""

    address: str
    file_name: str


@dataclass(frozen=True, slots=True)
class Mlflow:
    """A version of a model of an MLflow registry: by its number or by an alias, or the next one."""

    server: str
    name: str
    version: str | None = None
    alias: str | None = None
    authorization: str | None = None

    @property
    def address(self) -> str:
        """As it was written."""
        at = f"@{self.alias}" if self.alias is not None else f"/{self.version}"
        return f"mlflow:models:/{self.name}{at if at != '/None' else ''}"


Source = Local | Remote | Hub | Filesystem | Mlflow


def parse(address: str, environment: Mapping[str, str] | None = None) -> Source:
    """Parse an address; HF_ENDPOINT, HF_TOKEN and MLFLOW_TRACKING_* come from the environment.

    Raises:
        BadSource: it is neither an absolute path nor a supported address.
    """
    settings = os.environ if environment is None else environment
    if address.lower().startswith("mlflow:"):
        return mlflow(address, settings)
    scheme = address.partition("://")[0].lower() if "://" in address else ""
    if scheme == "hf":
        return _hub(address, settings)
    if scheme in {"", "file"}:
        return _local(address)
    if scheme in {"http", "https"}:
        if scheme == "https" or _loopback(urlsplit(address).hostname or ""):
            return _remote(address)
        raise BadSource(
            f"{address} is not encrypted, so the file could be replaced in transit; use https."
        )
    return _filesystem(address, scheme)


def _local(address: str) -> Local:
    path = unquote(address[len("file://") :]) if address.lower().startswith("file:") else address
    if not path.startswith("/"):
        raise BadSource(f"{address} is not an absolute path; begin it with /.")
    return Local(path)


def _filesystem(address: str, scheme: str) -> Filesystem:
    if "::" in address or not _SCHEME.fullmatch(scheme) or scheme in {"dir", "local"}:
        raise BadSource(
            f"{address} is not an address of a file; give a path, https://…, "
            "hf://owner/repository/file.gguf@revision, mlflow:models:/name/1, or a URL that fsspec "
            "knows, such as s3://bucket/file.gguf."
        )
    if "@" in address.split("/")[2]:
        raise BadSource("A password in a URL would be recorded; remove it.")
    return Filesystem(address, file_name(PurePosixPath(address).name))


def mlflow(address: str, settings: Mapping[str, str], *, numbered: bool = True) -> Mlflow:
    """A version of an MLflow registry; without `numbered` the model alone, to which one is added.

    Raises:
        BadSource: it names none, or MLFLOW_TRACKING_URI does not say where the registry is.
    """
    found = _MLFLOW.fullmatch(address)
    if found is None or numbered != bool(found["version"] or found["alias"]):
        what = "models:/name/3 or mlflow:models:/name@alias" if numbered else "models:/name"
        raise BadSource(f"{address} does not name a model of MLflow; write mlflow:{what}.")
    server = (settings.get("MLFLOW_TRACKING_URI") or "").rstrip("/")
    parts = urlsplit(server)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise BadSource(
            f"{address} needs MLFLOW_TRACKING_URI in the node's environment: https://… of the "
            "MLflow server."
        )
    if parts.scheme == "http" and not _loopback(parts.hostname):
        raise BadSource(f"{server} is not encrypted; use https for MLFLOW_TRACKING_URI.")
    if parts.username is not None or parts.password is not None:
        raise BadSource("Give MLFLOW_TRACKING_USERNAME and _PASSWORD instead of a URL with them.")
    authorization = None
    if token := settings.get("MLFLOW_TRACKING_TOKEN"):
        authorization = f"Bearer {token}"
    elif name := settings.get("MLFLOW_TRACKING_USERNAME"):
        pair = f"{name}:{settings.get('MLFLOW_TRACKING_PASSWORD') or ''}"
        authorization = f"Basic {base64.b64encode(pair.encode()).decode()}"
    return Mlflow(server, found["name"], found["version"], found["alias"], authorization)


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
