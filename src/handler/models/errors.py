"""The errors that decide what becomes of a request.

HandlerError
├── RejectedRequestError     the request can never work: its arrival is rejected, with one notice
├── RefusedLookUpError       ECR refuses a look-up for good: data, the failure of whatever it was about
├── SettingsError            the environment is not what the template sets
└── UnfinishedRequestError   the record fails, and a redelivery resumes; the kinds differ in what may have happened
    ├── ServiceUnavailableError  a service cannot answer now, and nothing was done
    ├── OutOfTimeError           too little time is left, and nothing was begun
    ├── UnknownOutcomeError      a service was asked and its answer was lost: it may have done what it was asked
    └── StepLostError            another invocation has taken a step over
"""


class HandlerError(Exception):
    """Base of all errors of this function."""


class RejectedRequestError(HandlerError):
    """The request can never work, and nothing of this arrival was carried out."""

    replayed = False
    """It was rejected, and reported, on an earlier receive."""


class RefusedLookUpError(HandlerError):
    """ECR refuses a look-up, and would refuse it again."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


class SettingsError(HandlerError):
    """The environment lacks a variable, or one has no usable value."""


class UnfinishedRequestError(HandlerError):
    """The request stays on the queue, and a redelivery resumes where it stopped."""

    nothing_done = False
    """The call that raised this has had no effect."""


class ServiceUnavailableError(UnfinishedRequestError):
    """A service refused for now, or was not reached: nothing was done, and a later try may succeed."""

    nothing_done = True


class OutOfTimeError(UnfinishedRequestError):
    """Too little of the invocation's time is left for another call; nothing was begun."""

    nothing_done = True


class UnknownOutcomeError(UnfinishedRequestError):
    """A service was asked and its answer was lost: it may have done all or some of what it was asked."""


class StepLostError(UnfinishedRequestError):
    """Another invocation has taken over a step that this one was at, and stores its outcome."""
