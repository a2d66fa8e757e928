"""What calls to ECR have in common: where they go, and what it means when one fails."""

from http import HTTPStatus
from threading import BoundedSemaphore
from time import sleep
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, EndpointConnectionError

from handler.models import DeletionRequest, ImageFailure, ImageId, LostAnswerError, NotNowError

if TYPE_CHECKING:
    from mypy_boto3_ecr import ECRClient
    from mypy_boto3_ecr.type_defs import ImageFailureTypeDef

# Refusals that say "not now" although their HTTP status says 4xx: throttling, credentials that Lambda renews, and an
# image that went away between the two questions of a look-up.
_NOT_NOW = frozenset({
    "ExpiredToken",
    "ExpiredTokenException",
    "ImageNotFoundException",
    "InvalidSignatureException",
    "LimitExceededException",
    "RequestExpired",
    "RequestLimitExceeded",
    "RequestTimeout",
    "RequestTimeoutException",
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "TooManyRequestsException",
    "UnrecognizedClientException",
})  # fmt: skip

_HANDOVER_SECONDS = 0.001
"""What it takes Python to send a call. Who has its answer leaves the interpreter that long to who waits to send: with
its own work first, ECR would have one call less to do for another five milliseconds."""
_REASON_CHARACTERS = 500
_CODE_CHARACTERS = 64


def never_ask_twice_unseen(ecr: "ECRClient") -> None:
    """Keeps botocore from asking ECR again by itself once an answer is lost, for ECR may have done the work.

    Asking again for a tag that was pushed in the meantime would delete the new image, so the next try looks first.
    """

    def stop_when_lost(
        response: tuple[Any, dict[str, Any]] | None, caught_exception: Exception | None, **_: object
    ) -> bool | None:
        if caught_exception is not None:
            return False if _may_have_arrived(caught_exception) else None
        return False if response is not None and response[0].status_code >= HTTPStatus.INTERNAL_SERVER_ERROR else None

    # The stubs know only hooks that answer nothing; the first answer to needs-retry decides.
    ecr.meta.events.register_first("needs-retry.ecr.BatchDeleteImage", stop_when_lost)  # type: ignore[arg-type]


def bound(ecr: "ECRClient", calls: int) -> None:
    """Lets so many calls to ECR be under way at a time, over all threads.

    From the first byte sent to the last received: to sign a call and to read its answer is work for Python, not for
    ECR. botocore has no hook that ends whatever happens to a call, hence its session.
    """
    session = vars(ecr)["_endpoint"].http_session
    send, slots = session.send, BoundedSemaphore(calls)
    waiting: list[Any] = []

    def send_in_turn(request: Any) -> Any:
        if not slots.acquire(blocking=False):
            waiting.append(request)
            slots.acquire()
            waiting.pop()  # whichever: how many they are is what counts
        try:
            return send(request)
        finally:
            slots.release()
            if waiting:
                sleep(_HANDOVER_SECONDS)

    session.send = send_in_turn


def scope(request: DeletionRequest) -> Any:
    """The arguments that every call has."""
    members = {"repositoryName": request.repository_name}
    if request.registry_id:
        members["registryId"] = request.registry_id
    return members


def lasting(error: ClientError | BotoCoreError, *, lost: bool) -> tuple[str, str]:
    """The code and the reason of an error that a redelivery would meet again; raises what it may cure.

    `lost` says whether ECR was asked for something that it may have done.
    """
    if isinstance(error, BotoCoreError):
        if lost and _may_have_arrived(error):
            raise LostAnswerError("the connection to ECR broke before its answer came") from error
        raise NotNowError("ECR could not be reached") from error
    code, status = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise (LostAnswerError if lost else NotNowError)(f"ECR failed with {code}") from error
    if code in _NOT_NOW or status == HTTPStatus.TOO_MANY_REQUESTS:
        raise NotNowError(f"ECR refused for now with {code}") from error
    return code, _plain(error.response["Error"].get("Message") or str(error), _REASON_CHARACTERS)


def _may_have_arrived(error: Exception) -> bool:
    """Whether a call that ended so may have reached ECR: all but a connection that was never made."""
    return not isinstance(error, ConnectTimeoutError | EndpointConnectionError)


def failure(image_id: ImageId, told: "ImageFailureTypeDef") -> ImageFailure:
    """What ECR told of an image, in bounds."""
    code, reason = told.get("failureCode", "Unknown"), told.get("failureReason", "ECR gave no reason")
    return ImageFailure(image_id, _plain(code, _CODE_CHARACTERS), _plain(reason, _REASON_CHARACTERS))


def _plain(text: str, limit: int) -> str:
    """Text of ECR's in ASCII, so that its length is its size wherever it is stored or sent."""
    return text.encode("ascii", "backslashreplace").decode()[:limit]
