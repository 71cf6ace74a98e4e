"""What the text of a sequence must match, and the masks that make it match.

    grammars   a constraint as a grammar of llguidance, and the bounds of its work
    compiler   compiles constraints beside the loop, and keeps them
    begun      a constraint on parts of a text, from where one begins to its end
    masks      one sequence's place in its grammar, and the masks of a whole step
    check      the program that tries a client's constraint where it can be killed

A compiler of grammars can be made to take minutes, gigabytes or the whole stack. So a constraint is
tried in a process that may die of it (`check`, started by the gateway's checker) before a worker
compiles it. Imported by the worker and, for `grammars`, by that program.
"""
