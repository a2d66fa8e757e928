"""A request that may take minutes, on its way from the request queue to the bulk queue.

It is forwarded before it is claimed: whoever carries it out claims it, under the key that it arrived with.
"""

from typing import TYPE_CHECKING, Any

from handler import request_queue
from handler.bootstrap import Invocation, Services
from handler.models.errors import RejectedRequestError
from handler.models.outcomes import SentRequests
from handler.models.report import ForwardedReport
from handler.models.request import DeletionRequest
from handler.steps import Attempt, StepRunner

if TYPE_CHECKING:
    from logging import LoggerAdapter


def forward(
    request: DeletionRequest,
    arrived: StepRunner,
    services: Services,
    invocation: Invocation,
    log: "LoggerAdapter[Any]",
) -> ForwardedReport:
    """Sends a request to the bulk queue, once for each arrival, however often that is received.

    Raises RejectedRequestError where it is too large for that, and what a redelivery may cure.
    """
    message = request_queue.forwarded(request)
    if too_large := request_queue.over_size(message):
        raise RejectedRequestError(too_large)

    def send(attempt: Attempt) -> SentRequests:
        del attempt  # sent twice, it is carried out once: its key is the same
        url, group = services.settings.bulk_queue_url, request_queue.sender_group(request)
        request_queue.send(services.sqs, url, [message], invocation.deadline.calling, group)
        return SentRequests((request.request_id,), more=False)

    replayed = arrived.run_unclaimed("forwarded", request.request_id, SentRequests, send).replayed
    extra = {"reason": request.reason, "origin": request.origin.to_json(), "replayed": replayed}
    log.info("request forwarded", extra=extra)
    return ForwardedReport(request)
