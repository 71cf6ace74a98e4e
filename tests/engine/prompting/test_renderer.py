"""The pool of renderer processes: what a template cannot do to anything but its own process."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from engine.execution import failures
from engine.prompting.renderer import faults
from engine.prompting.renderer.child import Limits
from engine.prompting.renderer.pool import Renderer
from engine.prompting.renderer.protocol import ChatSource, Keyed, PromptSource
from tests.engine.prompting import test_sandbox

QUICK = Limits(render_s=0.1, compile_s=0.4, slack_s=0.1)
UNSTOPPABLE = (
    "{% set a=namespace(s=(1,)) %}{% set b=namespace(s=(1,)) %}"
    "{% for i in range(60) %}{% set a.s = (a.s,a.s) %}{% set b.s = (b.s,b.s) %}{% endfor %}"
)
HELLO = Keyed(PromptSource(("hello",)))
TURNS = "{% for m in messages %}{{ m.content }}{% endfor %}"


@pytest_asyncio.fixture
async def renderer() -> AsyncIterator[Renderer]:
    """Two processes at most, with little time."""
    async with Renderer(limits=QUICK) as made:
        yield made


def prompt(source: str) -> Keyed[PromptSource]:
    """A prompt of one template."""
    return Keyed(PromptSource((source,)))


def chat(source: str = TURNS, **fields: int) -> Keyed[ChatSource]:
    """A chat template."""
    return Keyed(ChatSource(source, ("<|im_end|>",), "<s>", "</s>", **fields))


def said(text: str) -> dict[str, str]:
    """A user's message."""
    return {"role": "user", "content": text}


def processes(renderer: Renderer) -> set[int]:
    """The ids of its processes."""
    return {child.pid for child in renderer._children}


@pytest.mark.parametrize("work", ["{{ {a.s: 1} | length }}", "{{ a.s == b.s }}"])
async def test_what_nothing_can_interrupt_is_killed_and_quarantined(
    renderer: Renderer, work: str
) -> None:
    """Hashing or comparing deeply shared values: one operation of C that takes for ever."""
    hello = await renderer.texts(HELLO, {})
    before = processes(renderer)
    bomb = prompt(UNSTOPPABLE + work)
    with pytest.raises(faults.Exceeded, match=r"^it takes more than 0.5 s of processor time$"):
        await renderer.texts(bomb, {})
    assert renderer.quarantined(bomb) == "it takes more than 0.5 s of processor time"
    assert await renderer.texts(HELLO, {}) == hello
    after = processes(renderer)
    assert after != before
    with pytest.raises(faults.Exceeded) as caught:
        await renderer.texts(bomb, {})
    assert caught.value.quarantined
    assert processes(renderer) == after  # not tried again


async def test_a_renderer_beside_one_that_is_stuck_serves_the_others(renderer: Renderer) -> None:
    """And the event loop is free all the while."""
    stuck = asyncio.create_task(renderer.texts(prompt(UNSTOPPABLE + "{{ {a.s: 1} }}"), {}))
    for _ in range(20):
        assert await renderer.texts(HELLO, {}) == ("hello",)
    with pytest.raises(faults.Exceeded):
        await stuck


async def test_memory_is_bounded_by_the_process() -> None:
    """What the sandbox does not measure: many values that are small enough one by one."""
    greedy = prompt("".join(f"{{% set a{i} = 'x' * 8000000 %}}" for i in range(80)))
    async with Renderer(processes=1, limits=Limits(render_s=20)) as renderer:
        with pytest.raises(faults.Exceeded, match=r"^it takes more than 512 MiB of memory$"):
            await renderer.texts(greedy, {})
        assert renderer.quarantined(greedy) is not None
        assert await renderer.texts(HELLO, {}) == ("hello",)


async def test_a_process_that_is_killed_from_outside_costs_no_request(
    renderer: Renderer,
) -> None:
    """The work is done again by another process; the template is not to blame."""
    await renderer.texts(HELLO, {})
    (child,) = renderer._children
    for number in (signal.SIGINT, signal.SIGTERM):  # as a terminal or systemd sends to all
        os.kill(child.pid, number)
    assert await renderer.texts(HELLO, {}) == ("hello",)
    assert renderer._children == {child}
    os.kill(child.pid, signal.SIGSTOP)
    waiting = asyncio.create_task(renderer.texts(HELLO, {}))
    await asyncio.sleep(0)
    assert child.task is not None
    os.kill(child.pid, signal.SIGKILL)
    assert await waiting == ("hello",)
    assert renderer.quarantined(HELLO) is None


async def test_a_process_can_open_nothing_and_knows_no_secret(
    renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No descriptor but its socket, no number left for another, no variable of ours."""
    monkeypatch.setenv("PADDOCK_SECRET", "s3cret")
    await renderer.texts(HELLO, {})
    (child,) = renderer._children
    process = Path("/proc", str(child.pid))
    assert {each.name for each in (process / "fd").iterdir()} == {"0", "1", "2"}
    assert b"s3cret" not in (process / "environ").read_bytes()
    assert (process / "cwd").readlink() == Path("/")
    limits = {
        line[:26].strip(): line[26:].split()[:2]
        for line in (process / "limits").read_text().splitlines()
    }
    assert limits["Max open files"] == ["3", "3"]
    assert limits["Max file size"] == ["0", "0"]
    assert limits["Max processes"] == ["0", "0"]
    assert limits["Max core file size"] == ["0", "0"]
    assert limits["Max address space"][0] != "unlimited"


def test_the_processes_die_with_the_one_that_started_them() -> None:
    """Even a parent that is killed: the kernel ends them."""
    program = (
        "import asyncio, os, signal\n"
        "from engine.prompting.renderer.pool import Renderer\n"
        "from engine.prompting.renderer.protocol import Keyed, PromptSource\n"
        "async def main():\n"
        "    renderer = Renderer()\n"
        "    await renderer.texts(Keyed(PromptSource(('x',))), {})\n"
        "    (child,) = renderer._children\n"
        "    os.kill(child.pid, signal.SIGSTOP)\n"  # it cannot see that its socket is closed
        "    print(child.pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    try:
        ends = os.pidfd_open(int(done.stdout))
    except ProcessLookupError:
        return  # it has ended, and its new parent has reaped it
    try:
        assert select.select([ends], [], [], 60)[0], "the renderer outlived its parent"
    finally:
        os.close(ends)


async def test_half_of_a_surrogate_pair_fails_alone(renderer: Renderer) -> None:
    """What cannot be encoded is no text, from the template or from its caller."""
    with pytest.raises(faults.TemplateFault, match="half of a surrogate pair is not a character"):
        await renderer.texts(prompt('{{ "\\ud800" }}'), {})
    with pytest.raises(faults.TemplateFault, match="half of a surrogate pair"):
        await renderer.segments(chat('{{ "\\udfff" }}'), [said("x")], {})
    with pytest.raises(faults.Raised, match=r"^\?$"):
        await renderer.texts(prompt('{{ raise_exception("\\ud800") }}'), {})
    for wrong in ("\ud800", 2**70):
        with pytest.raises(faults.Unencodable):
            await renderer.texts(prompt("{{ x }}"), {"x": wrong})
    assert await renderer.texts(HELLO, {}) == ("hello",)


async def test_every_payload_of_the_sandbox_fails_through_the_pool(renderer: Renderer) -> None:
    """By the sandbox, in the process: none of them kills it."""
    for source in (*test_sandbox.OUTSIDE, *test_sandbox.GREEDY, *test_sandbox.FILLING):
        with pytest.raises(faults.TemplateFault):
            await renderer.texts(prompt(source), test_sandbox.LARGE | {"x": "text"})
        assert renderer.quarantined(prompt(source)) is None


async def test_a_long_conversation_has_time_in_proportion(renderer: Renderer) -> None:
    """A sound template that needs a little for each message is never called broken."""
    slow = "{% for m in messages %}{% for i in range(3000) %}{% endfor %}{% endfor %}ok"
    turns = [said("ok")] * 600
    async with asyncio.timeout(60):
        (segment,) = await renderer.segments(chat(slow), turns, {})
    assert segment.text == "ok"


async def test_a_long_task_continues_at_low_priority_in_a_process_that_ends_with_it() -> None:
    """It takes no processor from what answers clients, and later tasks are not slowed by it."""
    slow = "{% for m in messages %}{% for i in range(9000) %}{% endfor %}{% endfor %}ok"
    async with Renderer(processes=1) as renderer:
        await renderer.segments(chat(slow), [said("ok")], {})  # compiles it
        (first,) = renderer._children
        mine = os.getpriority(os.PRIO_PROCESS, 0)
        assert os.getpriority(os.PRIO_PROCESS, first.pid) == mine
        working = asyncio.create_task(renderer.segments(chat(slow), [said("ok")] * 600, {}))
        while os.getpriority(os.PRIO_PROCESS, first.pid) != max(mine, 10):  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert (await working)[0].text == "ok"
        assert await renderer.texts(HELLO, {}) == ("hello",)
        (second,) = renderer._children
        assert second is not first
        assert os.getpriority(os.PRIO_PROCESS, second.pid) == mine


async def test_what_cannot_fit_the_context_is_refused_by_the_least_it_can_have(
    renderer: Renderer,
) -> None:
    """Control texts that are cut out have at least a token each; nothing is sent back for them."""
    fits = chat(context_tokens=1000, longest_token=4)
    assert len(await renderer.segments(fits, [said("<|im_end|>" * 400)], {})) == 400
    for text in ("<|im_end|>" * 150_000, "x" * 5000):
        with pytest.raises(faults.TooLong, match="at least"):
            await renderer.segments(fits, [said(text)], {})


async def test_large_inputs_leave_a_process_to_small_ones(renderer: Renderer) -> None:
    """However many of them wait."""
    large = [
        asyncio.create_task(renderer.segments(chat(), [said("x")] * 2000, {})) for _ in range(9)
    ]
    ended: list[str] = []
    for task in large:
        task.add_done_callback(lambda _: ended.append("large"))
    await renderer.texts(HELLO, {})
    ended.append("small")
    await asyncio.gather(*large)
    assert ended.index("small") < len(large)
    busy = max(sum(c.task is not None and c.task.large for c in renderer._children), 0)
    assert busy == 0


async def test_a_cancelled_request_is_not_rendered(renderer: Renderer) -> None:
    """It leaves the queue; one that is being rendered is forgotten when it is done."""
    tasks = [asyncio.create_task(renderer.texts(HELLO, {})) for _ in range(5)]
    await asyncio.sleep(0)
    for task in tasks[1:]:
        task.cancel()
    assert await tasks[0] == ("hello",)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert await renderer.texts(HELLO, {}) == ("hello",)
    assert not renderer._waiting


async def test_what_waits_fails_when_the_renderer_is_closed() -> None:
    """With words for the client."""
    renderer = Renderer(limits=QUICK)
    waiting = asyncio.create_task(renderer.texts(HELLO, {}))
    await asyncio.sleep(0)
    await renderer.close()
    with pytest.raises(failures.Unavailable, match="stopping"):
        await waiting
    with pytest.raises(failures.Unavailable, match="stopping"):
        await renderer.texts(HELLO, {})


async def test_a_process_that_cannot_start_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests fail; they do not wait for ever."""
    monkeypatch.setattr(sys, "executable", "/proc/nope")
    async with Renderer() as renderer:
        with pytest.raises(failures.Unavailable, match="cannot start"):
            await renderer.texts(HELLO, {})
    monkeypatch.setattr(sys, "executable", "/bin/false")
    async with Renderer() as renderer:
        with pytest.raises(failures.Unavailable, match="does not start"):
            await renderer.texts(HELLO, {})


async def test_one_process_is_enough_for_many_templates(renderer: Renderer) -> None:
    """It forgets the oldest, and asks for them again."""
    for turn in range(2):
        for number in range(70):
            texts = await renderer.texts(prompt(f"{number} {{{{ x }}}}"), {"x": turn})
            assert texts == (f"{number} {turn}",)
    assert len(processes(renderer)) == 1
