"""What gateway and worker say to each other: the items of their frames.

A frame holds everything for the other side since the previous one, one per direction and step,
never one per token; `framing` encodes it. An adapter is named by the first 16 hex digits of its
SHA-256; "" is the base. Knows nothing of HTTP, scheduling or llama.cpp. Imported by the worker and
by its client.
"""

from __future__ import annotations

from typing import Final

import msgspec

from engine.serving.sampling_settings import Begins, Constraint, Sampling, Thinking

__all__ = [
    "FIGURES_LIMIT", "AdapterFailed", "AdapterLoaded", "AdapterUnloaded", "Begins", "Cancel",
    "Constraint", "Delta", "Detokenise", "Draining", "Embed", "Embedded", "Finished", "FromWorker",
    "Hello", "Inbox", "KnobsSet", "LoadAdapter", "Logprob", "Outbox", "Refused", "Request",
    "Result", "Sampling", "Score", "Scored", "Segment", "SetKnobs", "Step", "Submit", "Thinking",
    "ToWorker", "TokenLogprob", "Tokenise", "Tokenised", "UnloadAdapter",
]  # fmt: skip

FIGURES_LIMIT: Final = 1_000_000
"""Log-probabilities of one Scored, alternatives included: some 20 MB of a frame's 64 MiB."""


class Segment(msgspec.Struct, frozen=True, array_like=True):
    """Part of a prompt.

    `special`: control tokens spelled in `text` are parsed as such; true for text of the chat
    template, false for text of a client. A segment of `tokens` has no text, and is the only one of
    its prompt: it is used as it is.
    """

    text: str
    special: bool
    tokens: tuple[int, ...] = ()


class Submit(msgspec.Struct, frozen=True, array_like=True, tag="submit"):
    """Generate a sequence.

    What is cached of a prompt is reused within one `scope` only.

    `class_` is 0 interactive, 1 batch, 2 background. `max_tokens` counts completion tokens.
    `logprobs` is the number of alternatives per token (0: only the chosen one; -1: none).
    `queue_us` bounds the wait for the first token, from arrival at the worker. A stop string that
    is the text of a control token ends the sequence on that token. `request` is the id of the first
    of several sequences that answer one request, 0 for that one. `shown` are the texts of control
    tokens that belong to the answer's text; others leave none. A `constraint`
    was tried before; it holds from the first token, or `after` a text such as the mark that closes
    the reasoning. It does so, too, where the first token is the `opening` mark of a reasoning. With
    `begins` it holds for parts of the text alone, again and again.
    With `end_logprob` a token that ends the sequence has log-probabilities, too.
    """

    id: int
    adapter: str
    prompt: tuple[Segment, ...]
    sampling: Sampling
    max_tokens: int
    stop: tuple[str, ...]
    class_: int
    tenant: str
    queue_us: int
    logprobs: int
    request: int = 0
    scope: str = ""
    shown: tuple[str, ...] = ()
    thinking: Thinking | None = None
    constraint: Constraint | None = None
    after: str = ""
    opening: str = ""
    end_logprob: bool = False
    begins: Begins | None = None


class Score(msgspec.Struct, frozen=True, array_like=True, tag="score"):
    """Score a continuation of a prompt: the log-probability of each of its tokens.

    One prefill, no decoding. The continuation is plain text: control tokens spelled in it are not
    parsed. With `whole` the prompt itself is scored from its second token on, and there is no
    continuation. `alternatives` is how many of the most likely tokens are returned for each
    position; a prompt with more than FIGURES_LIMIT of all is refused. An answer of at least `room`
    tokens has to fit the context after it. The other fields are Submit's.
    """

    id: int
    adapter: str
    prompt: tuple[Segment, ...]
    continuation: str
    class_: int
    tenant: str
    queue_us: int
    scope: str = ""
    whole: bool = False
    alternatives: int = 0
    room: int = 0


class Tokenise(msgspec.Struct, frozen=True, array_like=True, tag="tokenise"):
    """Tell the tokens of a prompt, without BOS unless `bos`; nothing is computed."""

    id: int
    adapter: str
    prompt: tuple[Segment, ...]
    bos: bool
    queue_us: int


class Detokenise(msgspec.Struct, frozen=True, array_like=True, tag="detokenise"):
    """Tell the bytes of tokens."""

    id: int
    adapter: str
    tokens: tuple[int, ...]
    queue_us: int


class Embed(msgspec.Struct, frozen=True, array_like=True, tag="embed"):
    """Compute the vector of each input, or with a `query` how relevant each input is to it.

    An input is text and token ids in their order. A vector is cut to `dimensions` values, 0 for
    all, and scaled by `norm` as llama.cpp does: 2 Euclidean, 1 taxicab, 0 its greatest value to
    32760, another p > 2 its p-norm, -1 not at all. `request` is that of Submit, the others are
    Submit's.
    """

    id: int
    adapter: str
    inputs: tuple[tuple[str | int, ...], ...]
    class_: int
    tenant: str
    queue_us: int
    query: str | None = None
    dimensions: int = 0
    norm: int = 2
    request: int = 0


Request = Submit | Score | Tokenise | Detokenise | Embed
"""What a worker answers once, by its id."""


class Cancel(msgspec.Struct, frozen=True, array_like=True, tag="cancel"):
    """Stop a sequence at the next step and free its memory."""

    id: int


class LoadAdapter(msgspec.Struct, frozen=True, array_like=True, tag="load_adapter"):
    """Load an adapter (path and SHA-256 of the file) and give it its own context."""

    adapter: str
    path: str
    sha256: str


class UnloadAdapter(msgspec.Struct, frozen=True, array_like=True, tag="unload_adapter"):
    """Free an adapter and its context; its sequences, if any, are refused (no_adapter)."""

    adapter: str


class SetKnobs(msgspec.Struct, frozen=True, array_like=True, tag="set_knobs"):
    """Change live knobs by name; absent names keep their value."""

    values: dict[str, int]


ToWorker = Request | Cancel | LoadAdapter | UnloadAdapter | SetKnobs


class Inbox(msgspec.Struct, frozen=True, array_like=True):
    """Everything for the worker since the previous frame."""

    items: tuple[ToWorker, ...]


class Hello(msgspec.Struct, frozen=True, array_like=True, tag="hello"):
    """The worker's first item on every connection.

    `control_tokens` are the texts that the vocabulary parses as control tokens; `chat_template` is
    the GGUF's Jinja source or empty; `bos`/`eos` are token texts. `sequence_tokens` is the context
    size of one sequence. `adapters` are loaded, "" included. `devices` are ggml's names of where
    the weights are, such as CUDA0 or CPU. `longest_token` is in bytes, 0 where unknown. `infill`
    are the control tokens before a prefix, a suffix and the middle, none where there are none.
    `control_ids` are the ids of `control_tokens`, in their order.
    """

    pid: int
    sha256: str
    build: str
    devices: tuple[str, ...]
    sequence_tokens: int
    max_sequences: int
    vocabulary: int
    chat_template: str
    bos: str
    eos: str
    control_tokens: tuple[str, ...]
    adapters: tuple[str, ...]
    knobs: dict[str, int]
    longest_token: int = 0
    infill: tuple[str, ...] = ()
    control_ids: tuple[int, ...] = ()


class Logprob(msgspec.Struct, frozen=True, array_like=True):
    """One token with its natural-log probability; `raw` is the token's exact bytes.

    `token` is its id, -1 where an upstream does not say.
    """

    raw: bytes
    logprob: float
    token: int = -1


class TokenLogprob(msgspec.Struct, frozen=True, array_like=True):
    """The chosen token, and the most likely alternatives, best first."""

    chosen: Logprob
    top: tuple[Logprob, ...]


class Delta(msgspec.Struct, frozen=True, array_like=True):
    """What one sequence gained in this step.

    `text` is complete UTF-8, and empty while a character or a stop string is incomplete; `tokens`
    counts the tokens sampled in the step. The first one counts the tokens of the prompt, and those
    of them that were in memory already; the others have 0 there.
    """

    id: int
    text: str
    tokens: int
    logprobs: tuple[TokenLogprob, ...]
    prompt_tokens: int = 0
    cached_tokens: int = 0


class Finished(msgspec.Struct, frozen=True, array_like=True):
    """A sequence has ended; comes in the frame of its last Delta or later.

    `reason` is stop, length or cancelled; `stop` the stop string that ended it, "" where none did.
    `busy_us` is the worker's wall time apportioned to it. `cached_tokens`
    of its prompt were in memory already.
    """

    id: int
    reason: str
    prompt_tokens: int
    completion_tokens: int
    queue_us: int
    ttft_us: int
    busy_us: int
    stop: str = ""
    cached_tokens: int = 0


class Scored(msgspec.Struct, frozen=True, array_like=True, tag="scored"):
    """A continuation was scored: its tokens after the prompt, `top_tokens` of them most likely.

    Of a `whole` prompt they are all but the `first` one, which comes as bytes, its id in
    `first_token`; `prompt_tokens` counts it, too. `top` are the alternatives at each place, best
    first, where they were asked for. `hidden` are the places in the prompt of control tokens, which
    text does not show.
    """

    id: int
    tokens: tuple[Logprob, ...]
    prompt_tokens: int
    queue_us: int
    busy_us: int
    top_tokens: int = 0
    first: bytes = b""
    top: tuple[tuple[Logprob, ...], ...] = ()
    hidden: tuple[int, ...] = ()
    cached_tokens: int = 0
    first_token: int = -1


class Tokenised(msgspec.Struct, frozen=True, array_like=True, tag="tokenised"):
    """The tokens that were asked about, and the exact bytes of each."""

    id: int
    tokens: tuple[int, ...]
    raw: tuple[bytes, ...]


class Embedded(msgspec.Struct, frozen=True, array_like=True, tag="embedded"):
    """The inputs were computed: `values` are float32, little-endian, `width` for each input.

    With a query `width` is 1 and the values are scores. `tokens` counts those of each input.
    """

    id: int
    values: bytes
    width: int
    tokens: tuple[int, ...]
    queue_us: int
    busy_us: int


class Refused(msgspec.Struct, frozen=True, array_like=True):
    """A sequence was not admitted, or cannot continue.

    `code` is queue_full, deadline, too_long, no_adapter, empty, bad_token or logit_bias (a token
    that the vocabulary does not have), task (the worker computes something else), dimensions (the
    vectors have fewer), constraint (it cannot be held, or not to its end), too_many_figures (as
    Score says), draining, model_fault (what it computes are no numbers) or engine; `retry_after_us`
    is the estimated wait, 0 where waiting does not help. `busy_us` is the worker's wall time
    already apportioned to it. `place` is that of a bad_token in the prompt, or of the input of an
    Embed at fault; else -1.
    """

    id: int
    code: str
    message: str
    retry_after_us: int
    busy_us: int = 0
    place: int = -1


class Step(msgspec.Struct, frozen=True, array_like=True, tag="step"):
    """What one step computed, and everything that its sequences gained.

    Times are microseconds: `wall_us` since the end of the previous step, of it `busy_us` computing
    and `idle_us` waiting for work; wall = busy + idle.
    """

    number: int
    adapter: str
    wall_us: int
    busy_us: int
    idle_us: int
    prefill_tokens: int
    decode_tokens: int
    running: int
    waiting: int
    oldest_waiting_us: int
    kv_used_tokens: int
    kv_total_tokens: int
    deltas: tuple[Delta, ...]
    finished: tuple[Finished, ...]
    refused: tuple[Refused, ...]


class AdapterLoaded(msgspec.Struct, frozen=True, array_like=True, tag="adapter_loaded"):
    """The adapter is loaded and its context produces tokens."""

    adapter: str
    sha256: str


class AdapterFailed(msgspec.Struct, frozen=True, array_like=True, tag="adapter_failed"):
    """The adapter could not be loaded, or failed while computing; the others are not affected."""

    adapter: str
    reason: str


class AdapterUnloaded(msgspec.Struct, frozen=True, array_like=True, tag="adapter_unloaded"):
    """The adapter's memory was freed."""

    adapter: str


class KnobsSet(msgspec.Struct, frozen=True, array_like=True, tag="knobs_set"):
    """The knobs now in force."""

    values: dict[str, int]


class Draining(msgspec.Struct, frozen=True, array_like=True, tag="draining"):
    """The worker finishes what it has and takes nothing new; its successor does."""


Result = Scored | Tokenised | Embedded
"""What a request gets that generates nothing."""

FromWorker = (
    Hello | Step | Result | AdapterLoaded | AdapterFailed | AdapterUnloaded | KnobsSet | Draining
)


class Outbox(msgspec.Struct, frozen=True, array_like=True):
    """Everything for the gateway since the previous frame."""

    items: tuple[FromWorker, ...]
