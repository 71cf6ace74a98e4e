"""Sound inputs of each reader, from which a search begins: mutating them reaches further."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from engine.execution import frames
from engine.serving import framing, wire
from tests.engine.execution import jobs
from tests.engine.serving import tiny_gguf

_CHAT: Final = {
    "model": "ops",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Order 214?\N{ROCKET}"}]},
        {"role": "assistant", "content": None, "refusal": "no", "name": "x"},
    ],
    "stream": True, "stream_options": {"include_usage": True}, "n": 2, "stop": ["a", "b"],
    "seed": -1, "temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.1, "max_tokens": 5,
    "logprobs": True, "top_logprobs": 3, "user": "u", "prompt_variables": {"a": [1, None]},
    "response_format": {"type": "json_schema", "json_schema": {"schema": {"const": 1}}},
    "tools": [], "chat_template_kwargs": {"thinking": False},
    "logit_bias": {"7": -1.5}, "presence_penalty": 0.5, "frequency_penalty": -2, "min_tokens": 1,
    "repeat_penalty": 1.1, "repeat_last_n": 64,
}  # fmt: skip
_TEXT: Final = {
    "model": "ops", "prompt": ["Order 214", "Ticket 7"], "max_tokens": 4, "logprobs": 5,
    "echo": False, "best_of": 1, "suffix": None, "stop": "\n", "stream": False, "n": 1,
}  # fmt: skip
_REQUESTS: Final = tuple(
    b"\r\n".join(lines)
    for lines in (
        (b"\xffGET /readyz?service=ops HTTP/1.1", b"Host: b", b"", b"HEAD / HTTP/1.1", b"Host: b"),
        (b"\x05POST /a HTTP/1.1", b"Host: b", b"Content-Length: 4",
         b"Expect: 100-continue", b"", b"body"),
        (b"\x40POST / HTTP/1.1", b"host: b", b"transfer-encoding: chunked", b"",
         b"3;x=y", b"abc", b"0", b"t: v", b"", b""),
        (b"\xffGET http://b/x HTTP/1.0", b"Connection: keep-alive", b"Upgrade: h2c", b"", b""),
    )
)  # fmt: skip
_EXPOSITION: Final = (
    "# HELP vllm:num_requests_running Running.\n# TYPE vllm:num_requests_running gauge\n"
    'vllm:num_requests_running{model_name="a\\"b"} 3.0\nvllm:num_requests_waiting 1e2\n'
    'vllm:cache_config_info{block_size="16",num_gpu_blocks="2048"} 1\nllamacpp:kv +Inf\n'
)


def _inbox() -> bytes:
    prompt = (wire.Segment("<s>", special=True), wire.Segment("hello", special=False))
    sampling = wire.Sampling(0.8, 40, 0.95, 0.05, 7, 1.1, 0.5, 0.5, 64, 1, ((7, -1.5),))
    items: tuple[wire.ToWorker, ...] = (
        wire.Submit(1, "", prompt, sampling, 9, ("stop",), 0, "t", 1_000_000, 3),
        wire.Submit(2, "0123456789abcdef", prompt, sampling, 9, (), 1, "u", 1, -1),
        wire.Score(3, "", prompt, " world", 2, "t", 5),
        wire.Cancel(1),
        wire.LoadAdapter("0123456789abcdef", "/a/b.gguf", "0" * 64),
        wire.UnloadAdapter("0123456789abcdef"),
        wire.SetKnobs({"queue_limit": 4}),
    )
    return framing.encode(wire.Inbox(items))


def _outbox() -> bytes:
    top = (wire.Logprob(b"a", -0.5), wire.Logprob(b"\xff", -1.5))
    token = wire.TokenLogprob(top[0], top)
    step = wire.Step(
        1, "", 10, 9, 1, 5, 2, 2, 0, 0, 7, 512,
        (wire.Delta(1, "a", 1, (token,)),),
        (wire.Finished(1, "stop", 3, 2, 1, 2, 3),),
        (wire.Refused(2, "queue_full", "full", 5),),
    )  # fmt: skip
    said = (step, wire.Scored(3, top, 2, 1, 1), wire.AdapterLoaded("a" * 16, "b" * 64))
    return framing.encode(wire.Outbox(said))


def _gguf() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "seed.gguf"
        tiny_gguf.chain(
            path, [("a", tiny_gguf.NORMAL), ("b", tiny_gguf.NORMAL), ("<e>", tiny_gguf.CONTROL)],
            follows={0: 1}, eos=2, template="{{ messages[0].content }}",
        )  # fmt: skip
        return path.read_bytes()


def of(target: str) -> Sequence[bytes]:
    """The seeds of a target."""
    inbox, outbox = _inbox(), _outbox()
    job = frames.encode(frames.RunJob(jobs.chat("hello", "again"), 5_000_000))
    known: Mapping[str, Sequence[bytes]] = {
        "http_requests": _REQUESTS,
        "chat_body": [msgspec.json.encode(_CHAT), *_fields(_CHAT)],
        "text_body": [msgspec.json.encode(_TEXT), *_fields(_TEXT)],
        "worker_frames": [inbox],
        "gateway_frames": [outbox],
        "frame_bodies": [inbox[4:], outbox[4:]],
        "job_frames": [job],
        "gguf_headers": [_gguf()],
        "metrics_of_upstreams": [_EXPOSITION.encode()],
    }
    return known.get(target, ())


def _fields(document: Mapping[str, object]) -> list[bytes]:
    """The document once for each of its fields, which leaves a search less to keep intact."""
    kept = ("model", "messages", "prompt")
    return [
        msgspec.json.encode({n: v for n, v in document.items() if n in kept or n == name})
        for name in document
        if name not in kept
    ]
