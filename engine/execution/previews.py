"""Previews of prompt versions: their messages for given variables, and how many tokens they take.

Rendered as a request would be, in a renderer process kept apart from those that serve, so that a
hostile template delays no request; counted by the tokenizer of a loaded model. Nothing is recorded
as a request. Imported by `engine.gateway`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from engine.execution import failures
from engine.execution.execute import Executor
from engine.execution.frames import Previewed
from engine.execution.job import Chat, Message
from engine.execution.snapshot import Snapshot
from engine.prompting import prompt_template
from engine.prompting.renderer.pool import Renderer
from storage import errors, prompts
from storage.prompts import PromptVersion
from storage.releases import Release
from storage.store import Store

WITHIN_S: Final = 5.0


class Previews:
    """Renders in one process, started with the first preview; close it."""

    def __init__(self, store: Store, executor: Executor, snapshot: Callable[[], Snapshot]) -> None:
        self._store = store
        self._executor = executor
        self._snapshot = snapshot
        self._renderer = Renderer(processes=1)

    async def preview(
        self, prompt_id: int, variables: Mapping[str, Any], model: str | None, user: str | None
    ) -> Previewed:
        """The messages of a version, before those of a client who says `user`.

        Without a count of tokens `why` gives the reason.

        Raises:
            failures.Unknown: there is no such version. failures.Invalid: the variables do not fit.
            failures.Broken: a template is faulty. failures.Failure: nothing can be rendered now.
        """
        version = await self._version(prompt_id)
        try:
            own = await prompt_template.Prompt(version, self._renderer).render(variables)
        except prompt_template.BadVariables as error:
            raise failures.Invalid(str(error), code="invalid_prompt_variables") from error
        except prompt_template.BrokenPrompt as error:
            raise failures.Broken(str(error), code="prompt_broken") from error
        said = () if user is None else (Message("user", user),)
        messages = tuple(prompt_template.joined(own, said))
        try:
            release = self._release(version, model)
            tokens = await self._tokens(release, messages)
        except failures.Failure as failure:
            return Previewed(messages, None, "", failure.message)
        return Previewed(messages, tokens, self._model(release), "")

    async def _version(self, id: int) -> PromptVersion:
        try:
            async with self._store.read() as s:
                return await prompts.get(s, id)
        except errors.NotFound as error:
            raise failures.Unknown(str(error), code="prompt_not_found") from error
        except errors.StorageError as error:
            raise failures.Unavailable(str(error), code="store_unavailable") from error

    def _release(self, version: PromptVersion, model: str | None) -> Release:
        """A loaded release of the model; of any model, one that uses the prompt if there is one."""
        snapshot = self._snapshot()
        loaded = sorted(snapshot.resident.values(), key=lambda each: -each.number)
        if model is not None:
            loaded = [each for each in loaded if self._model(each) == model]
            if not loaded:
                known = {self._model(each) for each in snapshot.resident.values()}
                raise failures.Unknown(
                    f"no service has {model} loaded; loaded are: "
                    f"{', '.join(sorted(known)) or 'none'}",
                    code="model_not_found",
                )
        if not loaded:
            raise failures.Unavailable("no model is loaded", code="model_not_found")
        using = [each for each in loaded if each.prompt_version_id == version.id]
        return (using or loaded)[0]

    def _model(self, release: Release) -> str:
        version = self._snapshot().models.get(release.model_version_id or 0)
        if version is not None:
            return version.name
        asked = release.upstream or release.server
        return release.deployment if asked is None else asked.model

    async def _tokens(self, release: Release, messages: tuple[Message, ...]) -> int:
        tokeniser = self._executor.tokeniser(release)
        told = await tokeniser.tokens(release, Chat(messages), WITHIN_S, bos=True, special=False)
        return len(told.tokens)

    async def close(self) -> None:
        """End the renderer process."""
        await self._renderer.close()
