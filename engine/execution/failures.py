"""Why a job was not answered, in terms of the job: no status codes, no sockets.

    Failure
      Invalid       the job is invalid: retrying does not help
        Unknown     it names something that does not exist
      Overloaded    admission refused it; `retry_after_us` says when to try again
      Unavailable   nothing can answer it now, or not in time
      Broken        something on this box is faulty; an operator has to look

The gateway turns them into HTTP errors, the recorder into outcomes. Imports nothing of Paddock.
"""

from __future__ import annotations


class Failure(Exception):
    """A job that was not answered.

    `code` is stable and machine-readable; `param` names the field of the request at fault;
    `retry_after_us` is 0 where waiting does not help. `release_fault` says whether the release is
    to blame (its template, its prompt, its context), so that it counts against that arm.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        param: str | None = None,
        retry_after_us: int = 0,
        release_fault: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.param = param
        self.retry_after_us = retry_after_us
        self.release_fault = release_fault


class Invalid(Failure):
    """The job is invalid."""


class Unknown(Invalid):
    """The job names something that does not exist."""


class Overloaded(Failure):
    """Admission refused the job."""


class Unavailable(Failure):
    """Nothing can answer the job now."""


class Broken(Failure):
    """Something on this box is faulty."""
