"""The tiny language model that Paddock ships: its files, its world, and its synthetic load.

`world`, `vocabulary`, `verdicts` and `held_out` import the standard library only. How the model was
made is in `tools.model_factory`.
"""
