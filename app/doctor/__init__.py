"""What `paddock doctor` checks: each part of a box, with what to do about what is wrong.

    finding   one result: how bad, about what, in a sentence, and what to do
    machine   disk, memory, files, clock, GPU: judged from what was read of the kernel
    records   store, backups, keys: judged from what was read of the store
    box       configuration, node, gateway, processes

Judging is pure; `examination` reads. Imported by `app.commands.doctor`.
"""
