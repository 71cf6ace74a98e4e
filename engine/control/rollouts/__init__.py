"""Rollouts: the controller that leads a candidate to all of a service's traffic, or back.

    facts       what is read of the store for one rollout
    judge       verdicts on the guards, of counts
    decide      what to do now and why: pure
    act         the one transaction of a decision: split, move, event, looks
    controller  the three together, on the loop of `engine.control.reconcile`
    starting    the verb start, by what `starts` decides
    people      the verbs pause, promote, abort and retry
    undoing     the verb undo
    planning    the verb plan; `forecast` computes it in a job, at the `rhythm` of the traffic

State is in the store alone, so that a control that is killed continues where it was. Imported by
`engine.control`.
"""

from engine.control.rollouts import people as people
from engine.control.rollouts import planning as planning
from engine.control.rollouts import starting as starting
from engine.control.rollouts import undoing as undoing
