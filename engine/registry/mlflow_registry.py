"""An MLflow model registry over its REST API: which file a version is, and how one is added.

MLflow's client library is not needed. The server has to serve its artifacts (`--serve-artifacts`,
its default), so that their download resumes like any other. Knows nothing of jobs. Imported by
`engine.jobs`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import httpx

from engine.registry import server_responses, split_names
from engine.registry.server_responses import Refused
from engine.registry.sources import BadSource, Mlflow, Remote, file_name

_API: Final = "/api/2.0/mlflow"
_ARTIFACTS: Final = "/api/2.0/mlflow-artifacts/artifacts"
_PROXIED: Final = "mlflow-artifacts:"
_DEPTH: Final = 4
_CHUNK: Final = 1024 * 1024
_UPLOAD: Final = httpx.Timeout(30.0, write=300.0, read=300.0)


async def look_up(http: httpx.AsyncClient, source: Mlflow) -> tuple[list[Remote], str]:
    """The file of a version or the parts of a split one, and its address with its number.

    Raises:
        Refused: there is no such version, or not exactly one model in it.
        Unavailable: the server did not answer.
    """
    version = source.version
    if source.alias is not None:
        found = await _ask(
            http, source, "registered-models/alias", name=source.name, alias=source.alias
        )
        version = str(found["model_version"]["version"])
    asked = {"name": source.name, "version": version or ""}
    where = await _ask(http, source, "model-versions/get-download-uri", **asked)
    uri = str(where.get("artifact_uri", ""))
    if not uri.startswith(_PROXIED):
        raise Refused(
            f"{source.address}: its artifacts are at {uri}, which the server does not serve; "
            "start it with --serve-artifacts, or add the file by that address."
        )
    root = urlsplit(uri).path.strip("/")
    files = [path async for path in _files(http, source, root, _DEPTH)]
    models = [path for path in files if path.endswith(".gguf")]
    found = [
        Remote(
            f"{source.server}{_ARTIFACTS}/{quote(path)}",
            file_name(path.rpartition("/")[2]),
            source.authorization,
        )
        for path in _one_model(source, models, files)
    ]
    return found, f"mlflow:models:/{source.name}/{version}"


def _one_model(source: Mlflow, models: list[str], files: list[str]) -> tuple[str, ...]:
    """The one GGUF among a version's files, or the parts of the one that is split."""
    try:
        parts = split_names.every(models[0]) if models else ()
    except BadSource as error:
        raise Refused(f"{source.address}: {error}") from error
    if missing := sorted({*parts} - {*models}):
        raise Refused(f"{source.address}: part {missing[0]} of the split model is missing.")
    if not parts or {*parts} != {*models}:
        shown = ", ".join(models or files)[:400] or "nothing"
        raise Refused(
            f"{source.address}: a version needs one .gguf file, or the parts of one split model; "
            f"it holds {shown}."
        )
    return parts


async def publish(
    http: httpx.AsyncClient,
    target: Mlflow,
    files: list[Path],
    tags: dict[str, str],
    *,
    progress: Callable[[int], None],
) -> str:
    """Upload files and register them as the next version of a model; the version's number.

    Raises:
        Refused: the server does not take it. Unavailable: it did not answer.
    """
    await _post(
        http, target, "registered-models/create", {"name": target.name},
        known="RESOURCE_ALREADY_EXISTS",
    )  # fmt: skip
    run, root = await _run(http, target, tags)
    for path in files:
        url = f"{target.server}{_ARTIFACTS}/{quote(f'{root}/{path.name}')}"
        with server_responses.translated(url):
            response = await http.put(
                url,
                content=_chunks(path, progress),
                headers={**_headers(target), "content-length": str(path.stat().st_size)},
                timeout=_UPLOAD,
            )
        server_responses.accept(response, url, hub=False)
    made = await _post(
        http,
        target,
        "model-versions/create",
        {
            "name": target.name,
            "source": f"{_PROXIED}/{root}",
            "run_id": run,
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
        },
    )
    await _post(http, target, "runs/update", {"run_id": run, "status": "FINISHED"})
    return str(made["model_version"]["version"])


async def _run(http: httpx.AsyncClient, target: Mlflow, tags: dict[str, str]) -> tuple[str, str]:
    """A new run in the default experiment, to which MLflow ties a version's files; its folder."""
    name = f"paddock export of {tags.get('paddock.version', target.name)}"
    made = await _post(http, target, "runs/create", {"experiment_id": "0", "run_name": name})
    info = made["run"]["info"]
    uri = str(info["artifact_uri"])
    if not uri.startswith(_PROXIED):
        raise Refused(
            f"{target.address}: the server stores artifacts at {uri} and does not take them; "
            "start it with --serve-artifacts."
        )
    return str(info["run_id"]), f"{urlsplit(uri).path.strip('/')}/model"


async def _chunks(path: Path, progress: Callable[[int], None]) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
            progress(len(chunk))


async def _files(
    http: httpx.AsyncClient, source: Mlflow, folder: str, depth: int
) -> AsyncIterator[str]:
    url = f"{source.server}{_ARTIFACTS}"
    with server_responses.translated(url):
        response = await http.get(url, params={"path": folder}, headers=_headers(source))
    server_responses.accept(response, url, hub=False)
    for each in response.json().get("files", []):
        path = f"{folder}/{each['path']}".strip("/")
        if not each.get("is_dir"):
            yield path
        elif depth:
            async for inner in _files(http, source, path, depth - 1):
                yield inner


async def _ask(http: httpx.AsyncClient, source: Mlflow, what: str, **params: str) -> Any:
    url = f"{source.server}{_API}/{what}"
    with server_responses.translated(source.address):
        response = await http.get(url, params=params, headers=_headers(source))
    return _document(response, source)


async def _post(
    http: httpx.AsyncClient, target: Mlflow, what: str, body: dict[str, Any], *, known: str = ""
) -> Any:
    url = f"{target.server}{_API}/{what}"
    with server_responses.translated(target.address):
        response = await http.post(url, json=body, headers=_headers(target))
    if known and response.is_client_error and known in response.text:
        return {}
    return _document(response, target)


def _document(response: httpx.Response, source: Mlflow) -> Any:
    """The answer, or MLflow's own sentence of what is wrong."""
    try:
        document = response.json()
    except ValueError:
        document = {}
    if response.is_client_error and isinstance(document, dict) and "message" in document:
        raise Refused(f"{source.address}: {str(document['message'])[:400]}")
    server_responses.accept(response, source.address, hub=False)
    return document


def _headers(source: Mlflow) -> dict[str, str]:
    return {} if source.authorization is None else {"authorization": source.authorization}
