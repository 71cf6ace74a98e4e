"""What a release is made of: its settings, and the hash that identifies them.

The content schema is versioned and grows without renaming anything. `BASELINE` holds, for each
optional setting, the value that a release had before the setting existed. It is not the default:
a default may change, a baseline never does. Content leaves out what equals its baseline, so a new
setting changes no hash, and a changed default makes new content instead of giving old content a
new meaning. A stored release that lacks a setting reads as the baseline for the same reason.

Pure. Imported by `storage.releases` and `storage.deployments`; other packages take the settings
from `storage.releases`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, TypeVar, get_args

import msgspec
from msgspec import Meta

from storage import errors, names
from storage.model_checks import Task

T = TypeVar("T", bound=msgspec.Struct)

SCHEMA: Final = 2
"""The schema of new content. 1 is that of 0.1.0, which hashed every value."""

_PLACEHOLDER: Final = re.compile(r"\{([a-z_]+)\}")
PLACEHOLDERS: Final = frozenset(
    {"host", "port", "model", "weights", "devices", "context_tokens", "max_sequences"}
)

ContextTokens = Annotated[int, Meta(ge=16, le=4_194_304)]
MaxSequences = Annotated[int, Meta(ge=1, le=256)]
Devices = Annotated[tuple[Annotated[int, Meta(ge=0, le=1023)], ...], Meta(min_length=1)]
KvCacheType = Literal["f16", "q8_0", "q4_0"]
Pooling = Literal["model", "mean", "cls", "last", "rank"]
ServedModel = Annotated[str, Meta(min_length=1, max_length=200)]


KV_CACHE_TYPES: Final[tuple[KvCacheType, ...]] = get_args(KvCacheType)
"""As ggml names them, the most exact first. Those for which its usual builds for GPUs have kernels
of flash attention, without which values cannot be quantised."""


class Sampling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How tokens are drawn unless the client says otherwise; `temperature` 0 is greedy.

    Without `repeat_last_n` frequency and presence count what was generated, and repetition sees the
    prompt, too; with it, all three see the last tokens of both, -1 for all of them.
    """

    temperature: Annotated[float, Meta(ge=0, le=5)] = 0.7
    top_k: Annotated[int, Meta(ge=0, le=1_000_000)] = 40
    top_p: Annotated[float, Meta(gt=0, le=1)] = 0.95
    min_p: Annotated[float, Meta(ge=0, le=1)] = 0.0
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=10)] = 1.0
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] = 0.0
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] = 0.0
    repeat_last_n: Annotated[int, Meta(ge=-1, le=4_194_304)] | None = None
    min_tokens: Annotated[int, Meta(ge=0, le=131_072)] = 0


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`max_tokens` when the client gives none, the most it may ask for, the wait for a token."""

    max_tokens: Annotated[int, Meta(ge=1, le=131_072)] = 256
    max_tokens_cap: Annotated[int, Meta(ge=1, le=131_072)] | None = None
    queue_s: Annotated[float, Meta(gt=0, le=3600)] = 30.0


class Engine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a worker loads the weights.

    `context_tokens` is per sequence; `gpu_layers` -1 offloads all layers; `threads` 0 uses all
    cores. `kv_cache_type` is how keys and values are stored: q8_0 takes half as much as f16, q4_0
    about a quarter at some cost in quality. `devices` are GPU indices as the driver numbers them;
    None places each instance by free memory. `split` distributes the model over its devices as
    llama.cpp does: `none` uses one. `task` is what it computes: text, one vector for each input, or
    how relevant documents are to a query; for the latter two `pooling` makes one vector of those of
    the tokens (`model`: as the GGUF says), `context_tokens` is the longest input, and a step takes
    at least that many tokens.
    """

    context_tokens: ContextTokens = 1024
    max_sequences: MaxSequences = 16
    gpu_layers: Annotated[int, Meta(ge=-1, le=10_000)] = -1
    threads: Annotated[int, Meta(ge=0, le=1024)] = 0
    prefill_budget: Annotated[int, Meta(ge=16, le=8192)] = 256
    kv_cache_type: KvCacheType = "f16"
    devices: Devices | None = None
    split: Literal["none", "layer", "row"] = "layer"
    task: Task = "text"
    pooling: Pooling = "model"

    def __post_init__(self) -> None:
        """Refuse devices that repeat, and several devices without a split."""
        _check_devices(self.devices)
        if self.split == "none" and self.devices is not None and len(self.devices) > 1:
            raise ValueError("split none uses one device; name one, or split by layer or row")
        if (self.task == "reranking") != (self.pooling == "rank") and self.pooling != "model":
            raise ValueError("pooling rank belongs to task reranking, the others to embedding")
        if self.task == "text" and self.pooling != "model":
            raise ValueError("text is not pooled; say task embedding")


class Upstream(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A registered OpenAI-compatible server, and the model it is asked for."""

    name: Annotated[str, Meta(pattern=rf"^{names.PATTERN}\Z", max_length=36)]
    model: ServedModel


class Server(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An OpenAI-compatible server that the node starts and supervises.

    `command` is an argument vector in which `{port}` and the other `PLACEHOLDERS` are filled in
    for each instance: `{weights}` is the path of the release's model file, `{model}` the name that
    the server is asked for, `{devices}` a comma-separated list of GPU indices. Other braces are
    taken literally. `environment` is added to the node's. The instance is ready when
    `health_path` answers 200.
    """

    command: Annotated[
        tuple[Annotated[str, Meta(max_length=4096)], ...], Meta(min_length=1, max_length=256)
    ]
    environment: dict[
        Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*\Z", max_length=200)],
        Annotated[str, Meta(max_length=4096)],
    ] = {}
    health_path: Annotated[str, Meta(pattern=r"^/[!-~]*\Z", max_length=200)] = "/health"
    model: ServedModel
    context_tokens: ContextTokens = 1024
    max_sequences: MaxSequences = 16
    devices: Devices | None = None

    def __post_init__(self) -> None:
        """Refuse a command that could not be filled in, or would not learn its port."""
        _check_devices(self.devices)
        if not self.command[0].strip():
            raise ValueError("the command begins with an empty word")
        if any("\0" in word for word in (*self.command, *self.environment.values())):
            raise ValueError("a command and its environment contain no NUL characters")
        if unknown := self.placeholders() - PLACEHOLDERS:
            raise ValueError(
                f"the command has no placeholder {{{min(unknown)}}}; "
                f"known: {', '.join(f'{{{name}}}' for name in sorted(PLACEHOLDERS))}"
            )
        if "port" not in self.placeholders():
            raise ValueError(
                "the command needs {port} where it takes its port, as in --port {port}"
            )

    def placeholders(self) -> frozenset[str]:
        """The names in braces that the command and the environment contain."""
        words = (*self.command, *self.environment.values())
        return frozenset(name for word in words for name in _PLACEHOLDER.findall(word))

    def filled(self, word: str, values: Mapping[str, object]) -> str:
        """One word of the command or the environment with its placeholders filled in.

        Raises:
            KeyError: a placeholder has no value.
        """
        return _PLACEHOLDER.sub(lambda found: str(values[found[1]]), word)


BASELINE: Final[Mapping[type[msgspec.Struct], Mapping[str, object]]] = MappingProxyType(
    {  # entries are added and never change
        Sampling: {
            "temperature": 0.7,
            "top_k": 40,
            "top_p": 0.95,
            "min_p": 0.0,
            "seed": None,
            "repetition_penalty": 1.0,
            "frequency_penalty": 0.0,
            "presence_penalty": 0.0,
            "repeat_last_n": None,
            "min_tokens": 0,
        },
        Limits: {"max_tokens": 256, "max_tokens_cap": None, "queue_s": 30.0},
        Engine: {
            "context_tokens": 1024,
            "max_sequences": 16,
            "gpu_layers": -1,
            "threads": 0,
            "prefill_budget": 256,
            "kv_cache_type": "f16",
            "devices": None,
            "split": "layer",
            "task": "text",
            "pooling": "model",
        },
        Upstream: {},
        Server: {
            "environment": {},
            "health_path": "/health",
            "context_tokens": 1024,
            "max_sequences": 16,
            "devices": None,
        },
    }
)

_SCHEMA_1: Final[Mapping[type[msgspec.Struct], tuple[str, ...]]] = {
    Sampling: ("temperature", "top_k", "top_p", "min_p", "seed"),
    Limits: ("max_tokens", "max_tokens_cap", "queue_s"),
    Engine: ("context_tokens", "max_sequences", "gpu_layers", "threads", "prefill_budget"),
}


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides how a release answers: [name, SHA-256] of versions, and settings.

    Exactly one of `engine`, `upstream` and `server` is given. `base` is the version under an
    adapter. `follows` is the label that decides the prompt of the next release, as
    terse:production.
    """

    model: tuple[str, str] | None = None
    base: tuple[str, str] | None = None
    prompt: tuple[str, str] | None = None
    follows: str | None = None
    sampling: Sampling
    limits: Limits
    engine: Engine | None = None
    upstream: Upstream | None = None
    server: Server | None = None


def sha256(content: Content) -> str:
    """The identity of content under the current schema."""
    parts: dict[str, object] = {"schema": SCHEMA}
    for name in ("model", "base", "prompt", "follows"):
        if (version := getattr(content, name)) is not None:
            parts[name] = version
    for name in ("sampling", "limits"):
        if changed := reduced(getattr(content, name)):
            parts[name] = changed
    for name in ("engine", "upstream", "server"):  # present even if all of it is at the baseline
        if (settings := getattr(content, name)) is not None:
            parts[name] = reduced(settings)
    return _digest(parts)


def sha256_schema_1(content: Content) -> str | None:
    """The hash that 0.1.0 gave this content; None where its schema could not express it."""
    if content.engine is None or content.model is None or content.follows is not None:
        return None
    parts: dict[str, object] = {
        "model": content.model, "base": content.base, "prompt": content.prompt,
    }  # fmt: skip
    for name in ("sampling", "limits", "engine"):
        settings = getattr(content, name)
        known = _SCHEMA_1[type(settings)]
        if not reduced(settings).keys() <= set(known):
            return None
        parts[name] = {field: getattr(settings, field) for field in known}
    # 0.1.0 sorted the outer keys and kept the settings in the order of their definition.
    return hashlib.sha256(msgspec.json.encode(dict(sorted(parts.items())))).hexdigest()


def reduced(settings: msgspec.Struct) -> dict[str, Any]:
    """The settings that differ from their baseline, as plain data."""
    baseline = BASELINE[type(settings)]
    return {
        name: value
        for name, value in msgspec.to_builtins(settings).items()
        if name not in baseline or value != msgspec.to_builtins(baseline[name])
    }


def stored(settings: msgspec.Struct) -> str:
    """The settings as JSON with every value in force."""
    return msgspec.json.encode(settings, order="deterministic").decode()


def loaded(text: str, kind: type[T]) -> T:
    """Stored settings; what was stored before a setting existed has its baseline."""
    return msgspec.convert({**BASELINE[kind], **msgspec.json.decode(text)}, kind)


def checked(settings: T) -> T:
    """The settings with every value in its range and of its own type, so that equals hash equal.

    Raises:
        Invalid: a value is out of range; the message names the setting.
    """
    try:
        return msgspec.convert(msgspec.to_builtins(settings), type(settings))
    except msgspec.ValidationError as error:
        raise errors.Invalid(f"A setting of the release is not allowed: {error}.") from error


def _digest(parts: object) -> str:
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()


def _check_devices(devices: tuple[int, ...] | None) -> None:
    if devices is not None and len(set(devices)) < len(devices):
        raise ValueError(f"a device is named twice: {', '.join(map(str, devices))}")
