"""The tiny language model that Paddock ships: its world, its files, and how they were made.

`world`, `vocabulary`, `verdicts` and `held_out` are the standard library alone: whoever asks or
judges may import them. The synthetic load does.
Everything else trains or measures and is started by a person with `python -m`.
"""
