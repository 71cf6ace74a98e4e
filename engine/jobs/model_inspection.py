"""The third step of adding a model: its header is read and checked, its chat template tried.

Imported by `engine.jobs.add_model`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec

from engine.execution import failures
from engine.jobs import model_sources
from engine.jobs.context import Context
from engine.jobs.errors import Refused, Transient
from engine.registry import adapter_fit, chat_template, gguf_header, gguf_split, registration
from engine.registry.gguf_header import Header
from engine.registry.registration import Facts
from storage import errors
from storage.model_checks import Chat, ModelChecks
from storage.models import Kind, ModelVersion


class Inspected(msgspec.Struct, frozen=True, kw_only=True):
    """The facts from the header, and the result of the checks."""

    facts: Facts
    checks: ModelChecks


async def inspect(context: Context) -> Inspected:
    """Read the header, check it against the arguments, and try the chat template."""
    asked, name = model_sources.asked_of(context), model_sources.located(context).shown
    try:
        header = await asyncio.to_thread(_header, context)
        async with context.store.read() as s:
            base = await registration.base_of(s, asked)
        found = registration.facts(header)
        registration.check_fit(name, found, asked, base)
        if base is not None:
            await asyncio.to_thread(_check_shapes, name, model_sources.paths(context), base)
    except gguf_header.Broken as error:
        raise Refused(f"{name} cannot be served: {error}.") from error
    except OSError as error:
        raise Refused(f"{name} cannot be read: {error.strerror or error}.") from error
    except (registration.Unfit, errors.NotFound) as error:
        raise Refused(str(error)) from error
    checks = ModelChecks()
    if header.kind is Kind.WEIGHTS:
        chat = None if header.no_text else await _try(header.chat)
        checks = ModelChecks(
            no_text=header.no_text,
            chat=chat,
            task=header.task,
            pooling=header.pooling,
            dimensions=header.width,
        )
    elif header.chat.template is not None:
        checks = ModelChecks(chat=await _try(header.chat))
    return Inspected(facts=found, checks=checks)


def _header(context: Context) -> Header:
    """The header of the file, or of the split model that the parts make up."""
    paths = model_sources.paths(context)
    if len(paths) == 1:
        return gguf_header.read(paths[0])
    names = (each.file_name for each in model_sources.located(context).files)
    return gguf_split.read([*zip(names, paths, strict=True)])


def _check_shapes(name: str, adapter: Sequence[Path], base: ModelVersion) -> None:
    """Refuse an adapter whose tensors do not fit its base; skipped if the base cannot be read."""
    try:
        weights = adapter_fit.shapes([Path(each.path) for each in base.files])
    except (OSError, gguf_header.Broken):
        return
    if why := adapter_fit.misfit(adapter_fit.shapes(adapter), weights):
        raise Refused(f"{name} is not an adapter for {base.name}: {why}.")


async def _try(source: chat_template.Source) -> Chat:
    try:
        return await chat_template.check(source)
    except failures.Failure as failure:
        raise Transient(f"The chat template cannot be tried now: {failure}.") from failure
