"""Processes that compile and render untrusted templates, and are killed when they hang.

    pool        what the rest of Paddock calls: queues work and watches the processes
    quarantine  the sources that killed their process
    child       one process, as the pool sees it
    protocol    the frames between the two
    process     the program of such a process: `python -m engine.prompting.renderer.process`
    confinement, compiled, sandbox, bounds, sizes, guards    run in that process alone

Only `process` and what it imports may load Jinja; an import contract says so.
"""
