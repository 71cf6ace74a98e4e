"""How a step ends a job or an attempt other than by its result.

    Exception
      JobError
        Refused    what was asked cannot be done; another attempt would change nothing
        Transient  it did not work this time; another attempt may
        Cancelled  the job is being cancelled, or its process has to end

Any other exception is a fault of the step and fails the job. Imported by `engine.jobs` and the
job kinds.
"""

from __future__ import annotations


class JobError(Exception):
    """A step did not end with a result; the text is a sentence that says why and what to do."""


class Refused(JobError):
    """What was asked cannot be done."""


class Transient(JobError):
    """It did not work this time; the job is tried again, not before `after_s` where given."""

    def __init__(self, message: str, after_s: float | None = None) -> None:
        super().__init__(message)
        self.after_s = after_s


class Cancelled(JobError):
    """The job is being cancelled; leave the step at once."""
