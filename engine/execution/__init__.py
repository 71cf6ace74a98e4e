"""One request from plan to recorded answer, without HTTP: plan, execute, record.

One request has these shapes, and no others:

1. `gateway.bodies.Chat` or `Completion`: what a client sent, decoded. Other callers have none.
2. `plan.Options`: what a caller may set; with the catalog it makes
3. `job.Job`: everything that its execution needs. Frozen; it travels over the internal socket too.
4. `wire.Submit`: one sequence of it for a worker; `pending.PendingRequest` follows it there. An
   upstream has the server's own request instead.
5. `wire.Delta` and `wire.Finished`: what the worker sends, one frame per step;
6. `job.Delta` and `job.Finished`: the events that execution yields, whatever the backend.
7. `answers.Answer`: what the events add up to; formats and records read it.
8. `storage.requests.Request` and `Text`: what is recorded.

`execute.Executor` picks the backend by `release.backend`, and records each job once, when its last
choice has ended or what was cut short has been counted. Other processes of the box use `client`.
"""
