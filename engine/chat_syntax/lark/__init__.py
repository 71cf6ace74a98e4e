"""Calls as grammars: what a model may write of a call, in Lark as llguidance reads it.

    schemas   what a JSON schema says of a value
    pieces    marks, JSON, and lists whose members may be left out
    patterns  an expression of JSON Schema as one over whole texts
    texts     a text without quotes, up to the mark that ends it
    tagged    arguments between tags
    gemma     arguments as Gemma writes them
    keywords  a list of calls in Python's form, as LFM writes it

A schema is held as it is, to less than it allows, or not at all (`schemas.Unwritable`), never to
more. What these grammars match, the readers of calls read as a value that the schema allows.
Imported by `forced`, `lazy` and the backends' trials.
"""
