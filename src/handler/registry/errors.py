"""Failed calls to ECR and incomplete responses: which can be tried again, and which are final."""

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, EndpointConnectionError

from handler.models.errors import ServiceUnavailableError, UnknownOutcomeError
from handler.models.images import ImageFailure, ImageId

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mypy_boto3_ecr.type_defs import ImageFailureTypeDef

# Refusals that say "not now" although their HTTP status says 4xx: throttling, credentials that Lambda renews, and an
# image that went away between the two calls of a look-up.
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

_REASON_CHARACTERS = 500
_CODE_CHARACTERS = 64


def final_error(error: ClientError | BotoCoreError, *, deleting: bool) -> tuple[str, str]:
    """Returns the code and the reason of an error that a redelivery would meet again; raises where it may not.

    Raises ServiceUnavailableError, or UnknownOutcomeError where a deletion may have been carried out.
    """
    if isinstance(error, BotoCoreError):
        if deleting and may_have_arrived(error):
            raise UnknownOutcomeError("the connection to ECR broke before its response came") from error
        raise ServiceUnavailableError("ECR could not be reached") from error
    code, status = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise (UnknownOutcomeError if deleting else ServiceUnavailableError)(f"ECR failed with {code}") from error
    if code in {"", str(status)}:  # botocore found none in the body
        raise ServiceUnavailableError("ECR's error did not arrive whole") from error
    if code in _NOT_NOW or status == HTTPStatus.TOO_MANY_REQUESTS:
        raise ServiceUnavailableError(f"ECR refused for now with {code}") from error
    return code, _plain(error.response["Error"].get("Message") or str(error), _REASON_CHARACTERS)


def may_have_arrived(error: Exception) -> bool:
    """Returns whether a call that ended so may have reached ECR: all but a connection that was never made."""
    return not isinstance(error, ConnectTimeoutError | EndpointConnectionError)


def member(response: "Mapping[str, Any]", name: str) -> list[Any]:
    """Returns a list that ECR always sends; a response without it was cut short on its way, and botocore reads it.

    Raises ServiceUnavailableError: half an answer is none.
    """
    value = response.get(name)
    if not isinstance(value, list):
        raise ServiceUnavailableError(f"ECR's response has no {name}: it did not arrive whole")
    return value


def failure(image_id: ImageId, value: "ImageFailureTypeDef") -> ImageFailure:
    """Returns what ECR said of an image, in bounds."""
    code, reason = value.get("failureCode", "Unknown"), value.get("failureReason", "ECR gave no reason")
    return ImageFailure(image_id, _plain(code, _CODE_CHARACTERS), _plain(reason, _REASON_CHARACTERS))


def _plain(text: str, limit: int) -> str:
    """Returns ECR's text in ASCII, so that its length is its size wherever it is stored or sent."""
    return text.encode("ascii", "backslashreplace").decode()[:limit]
