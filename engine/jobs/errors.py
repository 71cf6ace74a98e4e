"""The errors with which a step ends its attempt or its job.

    Exception
      JobError
        Refused    permanent: another attempt would fail in the same way
        Transient  temporary: another attempt may succeed
        Cancelled  the job is being cancelled, or its process has to end

Any other exception is a bug of the step and fails the job. Imported by `engine.jobs` and the
job kinds.
"""

from __future__ import annotations


class JobError(Exception):
    """A step has no result; the message says what happened and what to do."""


class Refused(JobError):
    """The job cannot be done; retrying does not help."""


class Transient(JobError):
    """A temporary failure; the job is retried, after `after_s` at the earliest if given."""

    def __init__(self, message: str, after_s: float | None = None) -> None:
        super().__init__(message)
        self.after_s = after_s


class Cancelled(JobError):
    """The job is being cancelled; end the step."""
