"""How models write their answers: reasoning, content and calls of tools, as one text.

    families   the table: which syntax a chat template's text shows
    parser     an answer's text, in pieces of any cut, into reasoning, content and calls
    syntax     what a family is made of
    source     text that arrives in pieces
    json_values, json_calls, headed_calls, tagged_calls, gemma_calls, python_calls, harmony
               the forms that calls have, each with its reader
    described  tools in a system text, for templates that know none
    forced     a call that has to be made, or one beside a constraint on the answer
    textual_calls
               calls of earlier turns, for templates that show none
    lazy       a call that a model makes by itself: where its arguments begin and what they match
    lark       calls as grammars

Pure: no I/O, no clock, no model. Imported by the backends and by `engine.prompting`.
"""
