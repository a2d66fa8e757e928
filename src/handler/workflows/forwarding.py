"""A request that may take minutes, on its way from the request queue to the bulk queue.

It is forwarded before it is claimed: whoever carries it out claims it, under the key that it arrived with. The table
knows what was sent, so that nobody else's envelope counts: not even one that was sent back as a dead letter.
"""

from typing import TYPE_CHECKING, Any

from handler import request_queue
from handler.bootstrap import Invocation, Services
from handler.models.errors import RejectedRequestError
from handler.models.outcomes import SentRequests
from handler.models.report import ForwardedReport
from handler.models.request import DeletionRequest, Part, Payload, key_hash
from handler.step_table import CLAIM_SECONDS, StepTable
from handler.steps import Attempt, StepRunner, claim_name

if TYPE_CHECKING:
    from logging import LoggerAdapter

_STEP = "forwarded"


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
    message = request_queue.forwarded(request, arrived.key)
    if too_large := request_queue.over_size(message):
        raise RejectedRequestError(too_large)

    def send(attempt: Attempt) -> SentRequests:
        del attempt  # sent twice, it is carried out once: its key is the same
        url, group = services.settings.bulk_queue_url, request_queue.sender_group(request)
        request_queue.send(services.sqs, url, [message], invocation.deadline.calling, group)
        return SentRequests((request.request_id,), more=False)

    replayed = arrived.run_unclaimed(_STEP, _sealed(request), SentRequests, send).replayed
    extra = {"reason": request.reason, "origin": request.origin.to_json(), "replayed": replayed}
    log.info("request forwarded", extra=extra)
    return ForwardedReport(request)


def check_sent(payload: Payload, request: DeletionRequest, table: StepTable) -> DeletionRequest:
    """Returns a request that this stack has sent itself; a further turn, with the claim that it goes on with.

    The table knows what was sent: by the arrival that was forwarded; or by the claim of the fan-out that it is a part
    of, or of its own first turn, whose seal it has. What was claimed before, just as it is, needs no such proof: it may
    come back when that has expired. Raises RejectedRequestError for anything else, and what a redelivery may cure.
    """
    if payload.forwarded is not None:
        sender = table.item(payload.forwarded, _STEP)
        known = sender is not None and sender["content"]["S"] == _sealed(request)
    else:
        part = Part.of(request.key)
        sender = table.item(part.parent if part and not request.turn else request.key, claim_name(0))
        known = sender is not None and request_queue.seal(sender["generation"]["S"], payload) == payload.seal
    if not known:
        sender = table.item(request.key, claim_name(request.turn))
        known = sender is not None and sender["content"]["S"] == request.content_hash
    if sender is None or not known:
        raise RejectedRequestError(
            f"{request.request_id!r} says that this stack has sent it, and the table knows of nothing that it could "
            "have come from; send the request itself"
        )
    if request.turn or payload.forwarded is not None:
        table.remember(sender, CLAIM_SECONDS)  # what is sent back again is proven by it again, and further turns
    return request._replace(generation=sender["generation"]["S"]) if request.turn else request


def _sealed(request: DeletionRequest) -> str:
    """Returns a hash of all that an envelope says, and the content of it."""
    counts = (request.turn, request.taken)  # or a first turn could pass for a further one, which no limits hold for
    return key_hash((request.key, request.request_id, counts, request.origin.to_json(), request.content_hash))
