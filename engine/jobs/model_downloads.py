"""The second step of adding a model: its files are downloaded into the job's scratch directory.

Each file resumes by itself; the parts of a split model are downloaded one after the other. Imported
by `engine.jobs.add_model`.
"""

from __future__ import annotations

from collections.abc import Callable

import httpx

from engine.jobs import model_sources
from engine.jobs.context import Context
from engine.jobs.model_sources import SourceFile
from engine.registry import disk_room, downloads, filesystems, server_requests, sources
from engine.registry.downloads import Download, Known
from engine.registry.sources import Filesystem, Hub, Mlflow, Remote


async def fetch(context: Context) -> dict[str, object]:
    """Download what is not there yet; local files stay where they are."""
    found = model_sources.located(context)
    if found.local:
        return {}
    places = [model_sources.download(context, number) for number in range(len(found.files))]
    with model_sources.failures():
        _need_room(found.files, places)
        async with server_requests.client() as http:
            done = 0
            for file, place in zip(found.files, places, strict=True):
                await _fetch(context, http, file, place, _progress(context, found.files, done))
                done += place.size_bytes()
    context.log(f"Downloaded {done} bytes.")
    return {"size_bytes": done}


def _need_room(files: tuple[SourceFile, ...], places: list[Download]) -> None:
    """Refuse a split model that does not fit on the disk before its first part is there."""
    if len(files) == 1 or any(each.size_bytes is None for each in files):
        return
    missing = sum(each.size_bytes or 0 for each in files)
    missing -= sum(place.size_bytes() for place in places)
    disk_room.need(places[0].directory, f"all parts of {files[0].shown}", missing)


def _progress(
    context: Context, files: tuple[SourceFile, ...], before: int
) -> Callable[[int, int | None], None]:
    """Reports progress over all files, of which earlier ones have `before` bytes."""
    sizes = [each.size_bytes for each in files]
    whole = None if None in sizes else sum(size or 0 for size in sizes)

    def report(done: int, total: int | None) -> None:
        context.progress(before + done, total if len(files) == 1 else whole, "B")

    return report


async def _fetch(
    context: Context,
    http: httpx.AsyncClient,
    file: SourceFile,
    place: Download,
    progress: Callable[[int, int | None], None],
) -> None:
    asked = sources.parse(model_sources.asked_of(context).path)
    if isinstance(asked, Filesystem):
        source = Filesystem(file.url or "", file.file_name)
        await filesystems.fetch(source, place, progress=progress, log=context.log)
        return
    authorization = asked.authorization if isinstance(asked, Hub | Mlflow) else None
    expected = None
    if isinstance(asked, Hub):
        expected = Known(
            url=file.url or "",
            size_bytes=file.size_bytes,
            sha256=file.sha256,
            commit=file.commit,
        )
    await downloads.fetch(
        http,
        Remote(model_sources.with_query(context, file.url or ""), file.file_name, authorization),
        place,
        expected=expected,
        progress=progress,
        log=context.log,
    )
