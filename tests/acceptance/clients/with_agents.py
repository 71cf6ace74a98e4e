"""The agents of OpenAI's SDK and of Pydantic AI: each package where it is installed.

Run in an environment that has one of them; prints what fails as JSON. The address and the key come
from the environment.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import openai
from pydantic import BaseModel


class Status(BaseModel):
    """The status of an order."""

    days: Literal[1, 2]


def look(order: Literal["16", "17"]) -> str:
    """Look an order up."""
    return f"order {order} is late"


async def openai_agents() -> None:
    """Plain, with a form of the answer, and with a tool that has to be called, over both APIs."""
    import agents  # type: ignore[import-not-found]  # noqa: PLC0415 where it is installed

    agents.set_tracing_disabled(True)
    client = openai.AsyncOpenAI(max_retries=0)
    for kind in (agents.OpenAIResponsesModel, agents.OpenAIChatCompletionsModel):
        model = kind(model="ops", openai_client=client)
        fixed: dict[str, Any] = {"name": "a", "instructions": "Be brief.", "model": model}
        plain = await agents.Runner.run(agents.Agent(**fixed), "Hello.")
        assert plain.final_output
        formed = await agents.Runner.run(agents.Agent(**fixed, output_type=Status), "Hello.")
        assert isinstance(formed.final_output, Status)
        settings = agents.ModelSettings(tool_choice="required")
        tool = agents.function_tool(look)
        called = agents.Agent(**fixed, tools=[tool], model_settings=settings)
        run = agents.Runner.run_streamed(called, "Where is order 17?")
        kinds = {event.item.type async for event in run.stream_events() if hasattr(event, "item")}
        assert {"tool_call_item", "tool_call_output_item"} <= kinds


async def pydantic_ai() -> None:
    """Plain, with a form of the answer, with a tool, and streamed, over all three APIs."""
    import pydantic_ai as ai  # type: ignore[import-not-found]  # noqa: PLC0415
    from pydantic_ai.models import anthropic as claude  # type: ignore[import-not-found]  # noqa: PLC0415
    from pydantic_ai.models import openai as models  # noqa: PLC0415

    own = claude.AnthropicModel("ops")
    for model in (models.OpenAIChatModel("ops"), models.OpenAIResponsesModel("ops"), own):
        assert (await ai.Agent(model).run("Hello.")).output
        formed = ai.Agent(model, output_type=ai.ToolOutput(Status, strict=True))
        assert isinstance((await formed.run("Hello.")).output, Status)
        if model is not own:  # it knows which of Anthropic's models take a schema
            held = ai.Agent(model, output_type=ai.NativeOutput(Status))
            assert isinstance((await held.run("Hello.")).output, Status)
        assert (await ai.Agent(model, tools=[look]).run("Where is order 17?")).output
        async with ai.Agent(model).run_stream("Hello.") as stream:
            assert await stream.get_output()


INSTALLED: dict[str, Callable[[], Awaitable[None]]] = {
    "agents": openai_agents, "pydantic_ai": pydantic_ai,
}  # fmt: skip

if __name__ == "__main__":
    failures = {}
    for package, each in INSTALLED.items():
        if importlib.util.find_spec(package) is None:
            continue
        try:
            asyncio.run(each())  # type: ignore[arg-type]
        except Exception as error:  # noqa: BLE001 each is reported
            failures[package] = f"{type(error).__name__}: {error}"
    json.dump(failures, sys.stdout)
