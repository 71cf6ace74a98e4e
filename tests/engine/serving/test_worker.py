"""A real worker with the shipped model: many sequences at once, each as if it were alone."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.serving import wire
from tests import home_fixtures
from tests.engine.registry import split_gguf
from tests.engine.serving import workers
from tests.engine.serving.workers import Gateway, Heard, order

DEFAULTS = {"temperature": 0.8, "top_k": 40, "top_p": 0.95}
NOISE = {"temperature": 2.0, "max_tokens": 200}


@pytest.fixture(scope="module")
def socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the one worker of this module listens."""
    path = tmp_path_factory.mktemp("run") / "worker.sock"
    with workers.running(path):
        yield path


@pytest.fixture
async def gateway(socket: Path) -> AsyncIterator[Gateway]:
    """Connected, the knobs as they were at the start, whole prompts in one step."""
    async with workers.connected(socket) as one:
        one.client.want_knobs(
            {"max_running": 16, "prefill_budget": 8192, "queue_limit": 256,
             "prefix_cache": 1, "prefill_ms": 0, "prefill_every": 1, "backend_sampling": 1}
        )  # fmt: skip
        yield one


async def test_sixteen_streams_are_one_batch_and_none_mixes_with_another(
    gateway: Gateway,
) -> None:
    """Each says greedily what it says alone; the steps really held all sixteen."""
    submits = [order(question) for question in workers.questions(16)]
    alone = await gateway.one_by_one(submits)
    assert len(set(alone)) > 8, "different questions have different answers"
    assert max(step.decode_tokens for step in gateway.steps) == 1
    assert await gateway.together(submits) == alone
    assert max(step.decode_tokens for step in gateway.steps) == 16


async def test_a_split_model_answers_as_the_whole_file_does(
    gateway: Gateway, tmp_path: Path
) -> None:
    """Greedily, from four parts, whatever they are called."""
    submits = [order(question) for question in workers.questions(8)]
    whole = await gateway.one_by_one(submits)
    parts = split_gguf.write(tmp_path / "ops.gguf")
    parts[1] = parts[1].rename(tmp_path / "second")
    with workers.running(tmp_path / "s", model=parts):
        async with workers.connected(tmp_path / "s") as split:
            assert await split.one_by_one(submits) == whole


async def test_prompts_read_in_pieces_beside_others_give_the_same_answers(
    gateway: Gateway,
) -> None:
    """A small budget cuts every prompt into chunks that share steps with other streams."""
    submits = [order(question) for question in workers.questions(16)]
    whole = await gateway.one_by_one(submits)
    gateway.client.want_knobs({"prefill_budget": 16})
    before = len(gateway.steps)
    assert await gateway.together(submits) == whole
    assert max(step.prefill_tokens for step in gateway.steps[before:]) == 16


async def test_a_seed_gives_the_same_text_alone_and_in_company(gateway: Gateway) -> None:
    """With the sampling that releases have by default.

    Rounding differs with the shape of a batch, so a pick at the very border between two tokens may
    fall to the other side. Of 192 answers in full company that was none when greedy and 1 with
    these defaults; without filters 3 at temperature 1 and 35 at 2 (two x86-64 cores).
    """
    submits = [
        order(question, seed=seed, **DEFAULTS)
        for seed, question in enumerate(workers.questions(16))
    ]
    alone = await gateway.one_by_one(submits)
    assert await gateway.one_by_one(submits) == alone
    company = await gateway.together(submits)
    assert sum(one != other for one, other in zip(alone, company, strict=True)) <= 2


async def test_filtering_where_the_logits_are_changes_no_text(gateway: Gateway) -> None:
    """Alone, in turn with requests that need all logits; in company, while one is cancelled."""
    others: tuple[dict[str, Any], ...] = (
        {}, {"logprobs": 2}, {"top_k": 0}, {"temperature": 0.0}, {"logit_bias": ((300, 1.0),)},
        {"top_k": 3, "min_p": 0.05},
    )  # fmt: skip
    submits = [
        order(question, seed=seed, **(DEFAULTS | others[seed % len(others)]))
        for seed, question in enumerate(workers.questions(16))
    ]
    alone = await gateway.one_by_one(submits)
    gateway.client.want_knobs({"backend_sampling": 2})
    assert await gateway.one_by_one(submits) == alone
    leaving = Heard()
    id = gateway.client.submit(order("Order", max_tokens=200, **DEFAULTS), leaving)
    company = asyncio.ensure_future(gateway.together(submits))
    await leaving.begun.wait()
    gateway.client.cancel(id)
    texts = await company
    assert sum(one != other for one, other in zip(alone, texts, strict=True)) <= 2


async def test_another_seed_gives_another_text(gateway: Gateway) -> None:
    """Within one batch, from one prompt; the same one in the same batch gives the same."""
    texts = await gateway.together([order("Order", seed=seed, **NOISE) for seed in range(8)])
    assert len(set(texts)) == 8
    twins = await gateway.together([order("Order", seed=3, **DEFAULTS) for _ in range(8)])
    assert len(set(twins)) == 1


async def test_base_and_adapter_beside_each_other_answer_as_they_do_alone(
    gateway: Gateway,
) -> None:
    """The same weights, a context each; the adapter's answers are not the base's."""
    gateway.client.want_adapters({"lora": workers.lora()})
    asked = workers.questions(16)[8:]  # tickets among them, which only the adapter has learned
    base = [order(question) for question in asked]
    adapted = [order(question, adapter="lora") for question in asked]
    alone = await gateway.one_by_one(base), await gateway.one_by_one(adapted)
    assert alone[0] != alone[1]
    before = len(gateway.steps)
    both = await gateway.together(
        [submit for pair in zip(base, adapted, strict=True) for submit in pair]
    )
    assert (both[::2], both[1::2]) == alone
    turns = [step.adapter for step in gateway.steps[before:] if step.decode_tokens]
    assert {"", "lora"} <= set(turns[: len(turns) // 2])


async def test_an_adapter_that_is_not_the_registered_file_is_not_loaded(
    gateway: Gateway, tmp_path: Path
) -> None:
    """Nor is a torn file; each is refused with its reason, and the base serves on."""
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(home_fixtures.ADAPTER.read_bytes()[:4096])
    gateway.client.want_adapters(
        {
            "replaced": wire.LoadAdapter("replaced", str(home_fixtures.ADAPTER), "0" * 64),
            "broken": wire.LoadAdapter("broken", str(broken), _sha256(broken)),
        }
    )
    replaced = gateway.ask(order("Order", adapter="replaced"))
    torn = gateway.ask(order("Order", adapter="broken"))
    assert workers.lora().sha256 in (await replaced.refusal()).message
    assert "cannot be used" in (await torn.refusal()).message
    assert await gateway.together([order("Order 157", max_tokens=4)]) != [""]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


async def test_a_cancelled_stream_ends_and_its_neighbours_do_not_notice(
    gateway: Gateway,
) -> None:
    """Its place and its memory are free in the next step."""
    submits = [order(question) for question in workers.questions(6)]
    alone = await gateway.one_by_one(submits)
    doomed = workers.Heard()
    id = gateway.client.submit(order(workers.NO_END, max_tokens=450), doomed)
    await doomed.begun.wait()
    many = [gateway.ask(submit) for submit in submits]
    gateway.client.cancel(id)
    end = await doomed.finish()
    assert end.reason == "cancelled"
    assert 0 < end.completion_tokens < 450
    for heard in many:
        await heard.finish()
    assert [heard.text for heard in many] == alone
    assert (gateway.steps[-1].running, gateway.steps[-1].kv_used_tokens) == (0, 0)


async def test_only_the_prompt_beyond_the_context_is_refused(
    gateway: Gateway,
) -> None:
    """In company of others that are answered; one token less than the context is taken."""
    submits = [order(question) for question in workers.questions(4)]
    alone = await gateway.one_by_one(submits)
    tokens = await gateway.ask(order("order " * 100, special=False, max_tokens=1)).finish()
    each = tokens.prompt_tokens // 100
    many = [gateway.ask(submit) for submit in submits]
    endless = gateway.ask(order("order " * (520 // each)))
    vast = gateway.ask(order("order " * 1_000_000))
    counted, estimated = await endless.refusal(), await vast.refusal()
    assert (counted.code, estimated.code) == ("too_long", "too_long")
    assert "the prompt has 521 tokens" in counted.message
    assert "the prompt has at least" in estimated.message
    assert "512" in estimated.message
    for heard in many:
        await heard.finish()
    assert [heard.text for heard in many] == alone


async def test_an_answer_ends_where_the_context_does(gateway: Gateway) -> None:
    """By length, with the KV memory as full as it can be, and no fault."""
    prompt = "order " * 480
    end = await gateway.ask(
        order(prompt, special=False, temperature=2.0, max_tokens=10_000)
    ).finish()
    assert end.prompt_tokens + end.completion_tokens <= 512
    assert end.reason in {"length", "stop"}


async def test_knobs_take_effect_while_requests_run(gateway: Gateway) -> None:
    """One at a time, then all that there are slots, even where the knob asks for more."""
    noise = [order("Order", seed=seed, temperature=2.0, max_tokens=12) for seed in range(20)]
    gateway.client.want_knobs({"max_running": 1})
    await gateway.together(noise[:4])
    assert max(step.running for step in gateway.steps) == 1
    gateway.client.want_knobs({"max_running": 200})
    many = [gateway.ask(submit) for submit in noise]
    for heard in many:
        await heard.finish()
    assert max(step.running for step in gateway.steps) == 16
    gateway.client.want_knobs({"max_tokens_cap": 2})
    end = await gateway.ask(order("Order", **NOISE)).finish()
    gateway.client.want_knobs({"max_tokens_cap": 10_000})
    assert (end.completion_tokens, end.reason) == (2, "length")


async def test_the_time_of_the_steps_is_the_time_of_the_requests(gateway: Gateway) -> None:
    """To the microsecond: cancelled ones and refused ones are counted, too."""
    doomed = workers.Heard()
    id = gateway.client.submit(order(workers.NO_END, max_tokens=450), doomed)
    many = [gateway.ask(order(question)) for question in workers.questions(8)]
    await doomed.begun.wait()
    gateway.client.cancel(id)
    ends = [await doomed.finish(), *[await heard.finish() for heard in many]]
    assert sum(end.busy_us for end in ends) == sum(step.busy_us for step in gateway.steps)
    assert all(step.wall_us == step.busy_us + step.idle_us for step in gateway.steps)
    tokens = sum(step.prefill_tokens for step in gateway.steps)
    assert tokens == sum(end.prompt_tokens - end.cached_tokens for end in ends)


async def test_a_conversation_computes_only_what_is_new(gateway: Gateway) -> None:
    """The next turn begins where the last one ended, and its answer is the same as without."""
    question = workers.questions(4)[2]
    told = gateway.ask(order(question, seed=900))
    first = await told.finish()
    more = f"{question}{told.text}<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n"
    before = len(gateway.steps)
    heard = gateway.ask(order(more))
    end = await heard.finish()
    assert end.cached_tokens > first.prompt_tokens
    computed = sum(step.prefill_tokens for step in gateway.steps[before:])
    assert computed == end.prompt_tokens - end.cached_tokens
    gateway.client.want_knobs({"prefix_cache": 0})
    again = gateway.ask(order(more))
    assert (await again.finish()).cached_tokens == 0
    assert again.text == heard.text


async def test_the_prompt_of_several_answers_is_computed_once(gateway: Gateway) -> None:
    """The others fork it, and answer greedily what they answer when it is computed anew."""
    question = "Unasked before. " + workers.questions(4)[3]
    heard = [gateway.ask(order(question, seed=seed)) for seed in range(4)]
    ends = [await one.finish() for one in heard]
    assert [end.prompt_tokens - end.cached_tokens for end in ends][1:] == [1, 1, 1]
    assert ends[0].cached_tokens < ends[0].prompt_tokens // 2
    gateway.client.want_knobs({"prefix_cache": 0})
    alone = await gateway.one_by_one([order(question)])
    assert {one.text for one in heard} == set(alone)


async def test_a_stop_string_across_tokens_ends_the_text_before_it(gateway: Gateway) -> None:
    """Cut out of a greedy answer, so that it is sure to come; the text before it is the same."""
    question = workers.questions(4)[0]
    (whole,) = await gateway.together([order(question)])
    stop = whole[len(whole) // 3 : len(whole) // 3 + 5]
    heard = gateway.ask(order(question, stop=("never", stop)))
    end = await heard.finish()
    assert (heard.text, end.reason) == (whole.partition(stop)[0], "stop")


async def test_logprobs_spell_the_text_and_the_greedy_choice_is_the_likeliest(
    gateway: Gateway,
) -> None:
    """Each token's bytes, its logarithm, and the alternatives best first."""
    heard = gateway.ask(order(workers.questions(4)[1], logprobs=3))
    await heard.finish()
    found = [one for delta in heard.deltas for one in delta.logprobs]
    assert b"".join(one.chosen.raw for one in found).decode() == heard.text
    for one in found:
        assert one.top[0] == one.chosen
        assert sorted((top.logprob for top in one.top), reverse=True) == [
            top.logprob for top in one.top
        ]


async def test_control_tokens_that_a_client_spells_are_only_text(gateway: Gateway) -> None:
    """One token when the template writes it, its letters when a client does."""
    spelled = "<|im_end|>" * 10
    ends = [
        await gateway.ask(order(spelled, special=special, max_tokens=1)).finish()
        for special in (True, False)
    ]
    assert ends[0].prompt_tokens < 12 < ends[1].prompt_tokens


async def test_background_is_parked_for_others_and_says_the_same_in_the_end(
    gateway: Gateway,
) -> None:
    """What was computed anew continues where it was: no token lost, none twice."""
    submits = [order(question, class_=2) for question in workers.questions(4)]
    alone = await gateway.one_by_one(submits)
    gateway.client.want_knobs({"max_running": 2})
    low = [gateway.ask(submit) for submit in submits]
    await asyncio.gather(*(heard.begun.wait() for heard in low[:2]))
    await gateway.together([order("Order", max_tokens=3) for _ in range(2)])
    for heard in low:
        await heard.finish()
    assert [heard.text for heard in low] == alone


async def test_a_second_submission_under_one_id_ends_the_connection(
    gateway: Gateway,
) -> None:
    """A gateway that has lost count is cut off; the next connection finds an empty worker."""
    for _ in range(20):  # on a busy machine the first may have ended before the second comes
        heard = gateway.ask(order(workers.NO_END, max_tokens=450))
        await heard.begun.wait()
        for id in list(gateway.client._pending._live):
            gateway.client._queue(_again(order("Order"), id))
        await heard.over.wait()
        if heard.is_lost:
            break
    assert heard.is_lost
    assert await gateway.together([order("Order 157", max_tokens=4)]) != [""]
    assert gateway.steps[-1].running == 0


def _again(submit: wire.Submit, id: int) -> wire.Submit:
    return wire.Submit(
        id, submit.adapter, submit.prompt, submit.sampling, submit.max_tokens, submit.stop,
        submit.class_, submit.tenant, submit.queue_us, submit.logprobs,
    )  # fmt: skip


async def test_a_bias_decides_the_answer_and_the_logprobs_are_the_models_own(
    gateway: Gateway,
) -> None:
    """A token pushed by 100 is drawn again and again, however unlikely the model finds it."""
    (question,) = workers.questions(1)
    biased = gateway.ask(order(question, logit_bias=((300, 100.0),), logprobs=1, max_tokens=4))
    await biased.finish()
    logprobs = [each for delta in biased.deltas for each in delta.logprobs]
    assert len({each.chosen.raw for each in logprobs}) == 1
    assert logprobs[0].chosen.logprob < logprobs[0].top[0].logprob


async def test_a_bias_on_a_token_that_there_is_not_is_refused(gateway: Gateway) -> None:
    """That request alone; the worker lives."""
    (question,) = workers.questions(1)
    submits = [order(question, logit_bias=((token, 1.0),)) for token in (1, 10**6)]
    good, bad = map(gateway.ask, submits)
    assert (await bad.refusal()).code == "logit_bias"
    assert await good.finish()


async def test_penalties_break_a_loop(gateway: Gateway) -> None:
    """Greedily, and the same alone and in company."""
    plain = order(workers.NO_END, max_tokens=40)
    penalised = [
        order(workers.NO_END, max_tokens=40, frequency_penalty=2.0),
        order(workers.NO_END, max_tokens=40, repetition_penalty=1.8, repeat_last_n=16),
    ]
    alone = await gateway.one_by_one(penalised)
    looped, *together = await gateway.together([plain, *penalised])
    assert together == alone
    assert all(len(set(text.split())) > len(set(looped.split())) for text in alone)


async def test_nothing_ends_an_answer_before_its_minimum(gateway: Gateway) -> None:
    """Neither the model's own end nor a stop string."""
    (question,) = workers.questions(1)
    short = gateway.ask(order(question, max_tokens=100))
    count = (await short.finish()).completion_tokens
    longer = gateway.ask(order(question, max_tokens=100, min_tokens=count + 5))
    assert (await longer.finish()).completion_tokens >= count + 5
    stop = short.text[1:3]
    assert (await gateway.ask(order(question, stop=(stop,))).finish()).completion_tokens < count
    kept = gateway.ask(order(question, stop=(stop,), min_tokens=count - 1))
    await kept.finish()
    assert kept.text.startswith(short.text[:-1])
    endless = gateway.ask(order(question, max_tokens=count + 5, ignore_eos=True))
    assert (await endless.finish()).completion_tokens == count + 5
    stopped = gateway.ask(order(question, max_tokens=100, ignore_eos=True, stop=(stop,)))
    assert (await stopped.finish()).completion_tokens < count


SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "kind": {"enum": ["refund", "delay"]},
        "count": {"type": "integer", "minimum": 0, "maximum": 99},
    },
    "required": ["name", "kind", "count"],
    "additionalProperties": False,
}


async def test_constrained_answers_match_in_company_and_with_any_sampling(
    gateway: Gateway,
) -> None:
    """At high temperature, with penalties, a bias, a minimum and filters; and end by themselves."""
    (question,) = workers.questions(1)
    schema = wire.Constraint("json_schema", json.dumps(SCHEMA))
    submits = [
        order(question, constraint=schema, max_tokens=300, temperature=1.0, seed=1),
        order(question, constraint=schema, max_tokens=300, **DEFAULTS, frequency_penalty=1.0),
        order(question, constraint=schema, max_tokens=300, min_tokens=290, temperature=2.0),
        order(question, constraint=schema, max_tokens=300, logit_bias=((300, 100.0),)),
        order(question, constraint=wire.Constraint("choice", '["yes", "no"]'), temperature=2.0),
        order(question, constraint=wire.Constraint("regex", "[ab]{3}-[0-9]{2}"), temperature=1.0),
        order(question, constraint=wire.Constraint("grammar", 'root ::= "a" [0-9] "z"\n')),
        order(question),
    ]
    texts = await gateway.together(submits)
    assert texts == await gateway.one_by_one(submits)
    for text in texts[:4]:
        found = json.loads(text)
        assert set(found) == {"name", "kind", "count"}
        assert found["kind"] in {"refund", "delay"}
    assert texts[4] in {"yes", "no"}
    assert re.fullmatch("[ab]{3}-[0-9]{2}", texts[5])
    assert re.fullmatch("a[0-9]z", texts[6])


async def test_a_constrained_answer_may_be_cut_and_has_the_models_own_logprobs(
    gateway: Gateway,
) -> None:
    """By its length, and by a stop string inside the text."""
    (question,) = workers.questions(1)
    schema = wire.Constraint("json_schema", json.dumps(SCHEMA))
    cut = gateway.ask(order(question, constraint=schema, max_tokens=3, logprobs=2))
    assert (await cut.finish()).reason == "length"
    logprobs = [each for delta in cut.deltas for each in delta.logprobs]
    assert b"".join(each.chosen.raw for each in logprobs).decode() == cut.text
    assert logprobs[0].chosen.logprob < logprobs[0].top[0].logprob
    stopped = gateway.ask(order(question, constraint=schema, stop=("kind",), max_tokens=200))
    assert (await stopped.finish()).reason == "stop"
    assert "name" in stopped.text
    assert "kind" not in stopped.text


async def test_a_constraint_waits_for_the_end_of_the_reasoning(gateway: Gateway) -> None:
    """That the prompt has opened, and a budget closes."""
    (question,) = workers.questions(1)
    choice = wire.Constraint("choice", '["yes", "no"]')
    thinking = wire.Thinking(3, "<t>", "</t>", "</t>", inside=True)
    heard = gateway.ask(
        order(question, constraint=choice, after="</t>", thinking=thinking, temperature=1.0)
    )
    await heard.finish()
    reasoning, _, answer = heard.text.partition("</t>")
    assert reasoning
    assert answer in {"yes", "no"}


async def test_a_constrained_answer_may_open_its_reasoning_first(gateway: Gateway) -> None:
    """By the control token that does, which the model is made to like here."""
    (question,) = workers.questions(1)
    choice = wire.Constraint("choice", '["yes", "no"]')
    mark = "<|im_start|>"
    thinking = wire.Thinking(3, mark, "</t>", "</t>", inside=False)
    submit = order(
        question, constraint=choice, after="</t>", opening=mark, thinking=thinking, logprobs=0,
        logit_bias=((1, 100.0),),
    )  # fmt: skip
    heard = gateway.ask(submit)
    await heard.finish()
    first = next(each for delta in heard.deltas for each in delta.logprobs)
    assert first.chosen.raw.decode() == mark
    assert heard.text.partition("</t>")[2] in {"yes", "no"}
    plain = gateway.ask(order(question, constraint=choice, after="</t>", opening=mark))
    await plain.finish()
    assert plain.text in {"yes", "no"}


async def test_parts_of_a_text_are_held_and_the_rest_is_free(gateway: Gateway) -> None:
    """A part begins with any letter here, and again after its end; the text goes on after it."""
    (question,) = workers.questions(1)
    part = wire.Constraint("grammar", 'start: "\\n" /[^#]{1,30}/ "#" /[0-9]{3}/ "#"')
    begins = wire.Begins(("(?P<name>)(?=[a-z])",))
    submit = order(question, constraint=part, begins=begins, max_tokens=150, temperature=1.0)
    heard = gateway.ask(submit)
    assert (await heard.finish()).reason in {"length", "stop"}
    parts = heard.text.split("#")
    assert len(parts) > 4
    assert all(re.fullmatch("[0-9]{3}", number) for number in parts[1:-1:2])


async def test_a_constraint_that_turns_out_too_complex_ends_its_own_answer_alone(
    gateway: Gateway,
) -> None:
    """The bounds of a step hold while the text is made; the neighbours say what they say alone."""
    questions = [order(question) for question in workers.questions(2)]
    alone = await gateway.one_by_one(questions)
    deep = wire.Constraint("regex", "(([a-z]{1,100}){1,100}){1,100}")
    many = [
        gateway.ask(order(workers.NO_END, constraint=deep, temperature=1.5, seed=seed))
        for seed in range(6)
    ]
    assert await gateway.together(questions) == alone
    for heard in many:
        await heard.over.wait()
    codes = {heard.end.code for heard in many if isinstance(heard.end, wire.Refused)}
    assert codes == {"constraint"}


async def test_a_constraint_that_cannot_be_held_is_refused_alone(gateway: Gateway) -> None:
    """One that is cancelled while it is compiled ends, too; the worker lives."""
    (question,) = workers.questions(1)
    bad = gateway.ask(order(question, constraint=wire.Constraint("regex", "(a")))
    dropped = workers.Heard()
    expression = wire.Constraint("regex", "(ab|c){2,9}")
    id = gateway.client.submit(order(question, constraint=expression), dropped)
    gateway.client.cancel(id)
    good = gateway.ask(order(question))
    assert (await bad.refusal()).code == "constraint"
    assert await good.finish()
    assert await dropped.finish()
