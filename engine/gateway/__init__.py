"""The OpenAI-compatible HTTP door: requests in, tokens out, everything written down.

Room by room: `connections` (what comes before a request), `callers` (keys, roles, headers, bodies'
size), `bodies` (what may be sent), `catalogue` (what the store says), `fleet` (the workers),
`conversations` (what the model reads), `completing` (from a body to an answer), `flights` (a
request under way), `papers` and `answers` (how it is written and how it travels), `tickets` (what
is recorded), `health`, `metrics`, `listing`, `judging`, `routes`, `server`. Never loads a model,
never decides a split.

What clients may rely on, beyond OpenAI's documents:

- A field that nobody knows is refused by name, one that OpenAI knows and this box does not is
  refused where it would change the answer. Extensions: `top_k`, `min_p`, `prompt_variables`.
- Every role may complete; naming the release takes `operator`; `/metrics` takes `viewer` unless
  `gateway.open_metrics` is set; `/healthz` and `/readyz` are open and tell no paths of files.
- A client that stops sending after its request gets its answer; one that has gone is given up.
- A refusal comes before the first byte: headers are sent with the first token. A failure after it
  is an event `{"error": …}` and the end of the stream, without `[DONE]`.
- A worker that dies costs a stream that had begun (`worker_lost`), and time for all others.
- The release's prompt comes first: before the client's messages, with the client's leading system
  text appended to it; before the text of a text completion, with a blank line between.
- Choice i of n is drawn with seed + i. Text that spells a control token is only text.
- A client that does not read is given up when a megabyte of its answer waits (`slow_reader`), and
  hung up on when it took nothing for a minute.
- A head is complete within 64 KiB and a minute (`head_too_large`, `head_timeout`).
"""
