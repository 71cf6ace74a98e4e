"""The HTTP API, compatible with OpenAI's and Anthropic's: requests in, tokens out, all recorded.

From the socket inwards: `http` (connections, their limits and timers), `routes` (paths, and how
every error becomes a document of its dialect), `auth` (keys, roles, headers), `bodies` (how much
may be received at once), `request_bodies` (what may be sent), `completions` (a body to a job, its
events to HTTP), `openai_format` and `streaming` (how an answer is written), `messages` with
`anthropic_bodies` and `anthropic_format`, `responses` with modules of its own likewise, `tokens`,
`models`, `feedback`, `health`, `metrics`, `openapi`, `errors`. `internal_socket` takes jobs of this
box's own processes without HTTP. `server` makes and ends all parts, of which endpoints share the
`context`; `seconds` is the per-second tick, `remote_backends` imports the client of upstreams when
it is first needed, and `succession` lets one gateway run at a time. Planning, executing and
recording are `engine.execution`'s. Never loads a model, never changes a split.

What clients may rely on, beyond OpenAI's documents:

- An unknown field is refused by name; one that OpenAI knows and this gateway does not is refused
  where it would change the answer. Extensions: `top_k`, `min_p`, `min_tokens`,
  `ignore_eos`, `repetition_penalty`, `repeat_penalty`, `repeat_last_n`, `structured_outputs`,
  `guided_json`, `guided_regex`, `guided_choice`, `guided_grammar`, `guided_whitespace_pattern`,
  `json_schema`, `grammar`, `prompt_logprobs`, `return_tokens_as_token_ids`, `timings_per_token`,
  `prompt_variables`, `chat_template_kwargs`.
- Every role may complete; naming the release takes `operator`; `/metrics` takes `viewer` unless
  `gateway.open_metrics` is set; `/healthz` and `/readyz` are open and show no paths of files.
- A client that stops sending after its request gets its answer; when a client disconnects, its
  request is cancelled.
- A refusal comes before the first byte: headers are sent with the first token, or after two
  seconds of waiting, with a comment `: waiting` that is repeated until the first token. A later
  failure is an event `{"error": …}` and the end of the stream, without `[DONE]`.
- A request is in the journal before the last byte of its answer is sent, so that a killed gateway
  loses none that a client has; what was under way is recorded as failed (`gateway_lost`).
- When the node dies, the gateway ends its streams with an error event and exits within three
  seconds; only a gateway that is killed itself cuts them.
- When a worker dies, streams that had begun fail (`worker_lost`); all other requests are retried.
- The release's prompt comes first: before the client's messages, with the client's leading system
  text appended to it; before the text of a text completion, with a blank line between.
- With `echo` a prompt is scored once for all its choices, as part of the first one's cost; it is
  not recorded as an answer, and its tokens count as the prompt's.
- Below `/services/NAME` the paths of completions and tokens need no `model`; records have the path
  without that.
- Choice i of n uses seed + i. Text that spells a control token is only text.
- A request is cancelled when a megabyte of its answer waits unread (`slow_reader`), and its client
  is disconnected when it has read nothing for a minute.
- A request's head must be complete within 64 KiB and 30 seconds (`head_too_large`,
  `head_timeout`), its body within a minute and at a kilobyte a second (`body_timeout`,
  `body_too_slow`). An answer that is complete before the body ends the connection.
- A connection without a request under way, or whose client leaves an answer unread, may be closed
  to make room for a new one.
- Bodies are sent uncompressed (`unsupported_encoding`). Web pages of other origins are answered
  where `gateway.allowed_origins` names them.
- A request that an upstream sends back here is refused (`upstream_loop`); the gateways on the way
  are named in `x-paddock-via`.
"""
