"""A/B tests: the controller that compares the arms of a sticky split, and ends the comparison.

    count       new requests and ratings become counts, each unit once: pure
    judge       verdicts on goals, guards and the split, of counts: pure
    facts       what is read of the store for one test
    decide      what to do now and why: pure
    act         the one transaction of a decision: split, move, event, units, looks
    controller  the four together, on the loop of `engine.control.reconcile`
    people      the verbs: start, stop, promote

State is in the store alone, so that a control that is killed resumes where it was. Imported by
`engine.control`.
"""

from engine.control.ab_tests import people as people
