"""Processes that compile and render untrusted templates, and may be killed for what they do.

    pool       what the rest of Paddock calls: queues work, watches the processes, keeps verdicts
    child      one process, as the pool sees it
    protocol   the frames between the two
    process    the program of such a process: `python -m engine.prompting.renderer.process`
    confinement, compiled, sandbox, bounds, sizes, guards    run in that process alone

Only `process` and what it imports may load Jinja; an import contract says so.
"""
