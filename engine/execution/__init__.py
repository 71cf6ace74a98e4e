"""One request from plan to recorded answer, without HTTP.

The stages: `catalog` (a snapshot of the store), `plan` (which release answers, with which
settings), `prompts` (the release's prompt before the caller's input), `execute` (the job on its
backend), `answers` (its events collected), `record` (its row), `recorder` (into the store, at most
a second late) and `journal` (what a killed gateway would lose until then). `shadow_copies` sends
some requests to a second release once they are answered. `answering` judges releases and instances
by how their requests ended; `failures` are the reasons for jobs without an answer. Other processes
of the box use `client`, which exchanges `frames` on the gateway's internal socket.

One request has these shapes, and no others:

1. `gateway.request_bodies.Chat` or `Completion`: what a client sent, decoded. Other callers have
   none.
2. `job.Options`: what a caller may set; with the catalog `plan` makes
3. `job.Job`: everything that its execution needs. Frozen; it travels over the internal socket too.
4. `wire.Submit`: one sequence of it for a worker; `pending.PendingRequest` follows it there. An
   upstream has the server's own request instead.
5. `wire.Delta` and `wire.Finished`: what the worker sends, one frame per step;
6. `job.Delta` and `job.Finished`: the events that execution yields, whatever the backend.
7. `answers.Answer`: what the events add up to; formats and records read it.
8. `storage.requests.Request` and `Text`: what is recorded.

`execute.Executor` picks the backend by `release.backend` and enters each job in the journal when it
begins. It records each once: before the last event is passed on, or, where a job was cut short,
when its tokens have been counted.
"""
