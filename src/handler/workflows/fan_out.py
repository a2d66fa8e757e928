"""A request for several repositories: each gets a separate request, on the queue."""

import itertools
from functools import cached_property, partial

from handler import guards, registry, request_queue
from handler.models.errors import OutOfTimeError, RefusedLookUpError, RejectedRequestError, ServiceUnavailableError
from handler.models.outcomes import SentRequests
from handler.models.report import FanOutReport
from handler.steps import Attempt

from .execution import Execution

_REQUESTS_PER_STEP = 200
"""Requests that one step sends: what it stores of them fits an item, and it takes some seconds at most."""


class FanOut:
    """The steps of a request for several repositories."""

    def __init__(self, execution: Execution) -> None:
        self._request, self._steps, self._services, self._invocation, self._log = execution
        self._execution, self._rules, self._repository = execution, execution.rules, execution.repository
        selection = self._request.selection
        self._of_grace = selection is not None and selection.count_type == "gracePeriodEnded"

    def carry_out(self) -> FanOutReport:
        """Sends one request for each repository, in the order of their names; a redelivery resumes after those sent.

        Raises RejectedRequestError where it means no repository, and what a redelivery may cure.
        """
        sent: list[str] = []
        for number in itertools.count():
            send = partial(self._send, last=sent[-1] if sent else "")
            outcome, _ = self._steps.run(f"send/{number}", SentRequests, send, store_in_claim=number == 0)
            sent += outcome.repository_names
            if not outcome.more:
                break
        if self._request.notify == "summary":
            from .summary import watch  # noqa: PLC0415  # what is not used is not imported

            self._steps.run("watch", SentRequests, partial(watch, self._execution))
        origin = {"id": self._request.origin.id}
        self._log.info("request spread", extra={"repositories": len(sent), "origin": origin})
        return FanOutReport(self._request, tuple(sent), self._steps.replaying)

    @cached_property
    def _names(self) -> list[str]:
        if self._of_grace:
            from .archive import targets_in_grace  # noqa: PLC0415  # what is not used is not imported

            return targets_in_grace(self._execution)
        existing = partial(registry.repository_names, self._repository)
        return guards.allowed_repositories(self._rules, self._request, existing)

    def _send(self, attempt: Attempt, *, last: str) -> SentRequests:
        """Sends the requests for the repositories behind the last, as many as there is time for."""
        # Once something may have been sent, nobody can say that nothing of it was carried out.
        error_type = ServiceUnavailableError if last or attempt.first_attempt_at is not None else RejectedRequestError
        try:
            names = [name for name in self._names if name > last]
        except RefusedLookUpError as error:
            raise error_type(
                f"request.repositoryNames: the repositories cannot be listed: {error}; the function's role must allow "
                "ecr:DescribeRepositories, or name the repositories without a pattern"
            ) from error
        if not names and not last and not self._of_grace:
            raise error_type(
                "request.repositoryNames means no repository; the stack's RepositoryPattern is "
                f"{','.join(self._rules.repository_patterns)!r}"
            )
        child = partial(request_queue.child, self._request, self._steps.generation)
        largest = request_queue.size(child(max(names, key=len, default="")))
        if largest > request_queue.MESSAGE_BYTES:
            raise error_type(
                f"request is too large to be passed on: with its envelope, a message to one repository has {largest:,} "
                f"bytes, and SQS takes {request_queue.MESSAGE_BYTES:,}; split imageIds into several requests"
            )
        url, calling = self._services.settings.request_queue_url, self._invocation.deadline.calling
        sent: list[str] = []
        for batch in itertools.batched(names[:_REQUESTS_PER_STEP], request_queue.ENTRIES, strict=False):
            try:
                request_queue.send(self._services.sqs, url, [child(name) for name in batch], calling)
            except OutOfTimeError:
                if not sent:
                    raise
                break
            sent += batch
        return SentRequests(tuple(sent), more=len(sent) < len(names))
