"""The tiny language model that Paddock ships, the data it was made from, and the synthetic load.

`world`, `vocabulary`, `verdicts` and `held_out` import the standard library only. The model was
trained by `tools.model_factory`.
"""
