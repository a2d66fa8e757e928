"""Errors of calls to ECR: what a redelivery cures, what it would meet again, and what may have had its effect."""

from typing import Any

import pytest
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
    SSLError,
)

from handler.models.errors import ServiceUnavailableError, UnknownOutcomeError
from handler.models.images import ImageFailure, ImageId
from handler.registry.errors import failure, final_error, member

URL = "https://ecr"
TAG = ImageId(tag="v1")


def error(code: str, status: int = 400, message: str | None = "why") -> ClientError:
    """An error of the whole call."""
    text = {"Code": code} if message is None else {"Code": code, "Message": message}
    response: Any = {"Error": text, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "BatchDeleteImage")


@pytest.mark.parametrize("deleting", [True, False])
@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("ThrottlingException", 400),
        ("ThrottledException", 400),
        ("Throttling", 400),
        ("RequestLimitExceeded", 400),
        ("TooManyRequestsException", 429),
        ("LimitExceededException", 400),
        ("SomethingNewException", 429),
        ("ExpiredTokenException", 400),
        ("ExpiredToken", 403),
        ("UnrecognizedClientException", 400),
        ("InvalidSignatureException", 403),
        ("RequestExpired", 400),
        ("RequestTimeout", 400),
    ],
)
def test_a_refusal_for_now_is_retried(code: str, status: int, deleting: bool) -> None:  # noqa: FBT001
    """ECR did nothing, and a redelivery may succeed: throttling, and credentials that Lambda renews."""
    with pytest.raises(ServiceUnavailableError, match=f"^ECR refused for now with {code}$"):
        final_error(error(code, status), deleting=deleting)


@pytest.mark.parametrize(
    "code",
    ["RepositoryNotFoundException", "AccessDeniedException", "InvalidParameterException", "SomethingNewException"],
)
def test_any_other_refusal_is_final(code: str) -> None:
    """Under ECR's code and in its words, whether something was to be deleted or looked up."""
    for deleting in (True, False):
        assert final_error(error(code), deleting=deleting) == (code, "why")


@pytest.mark.parametrize(("message", "reason"), [(None, "An error occurred (Odd) when calling"), ("é" * 9999, r"\xe9")])
def test_a_reason_is_never_missing_and_never_long(message: str | None, reason: str) -> None:
    """Plain ASCII of at most 500 characters, so that its length is its size wherever it is stored or sent."""
    _, words = final_error(error("Odd", message=message), deleting=True)
    assert words.startswith(reason)
    assert words.isascii()
    assert len(words) <= 500


LOST = [
    error("ServerException", 500),
    error("ServerException", 503),
    ConnectionClosedError(endpoint_url=URL),
    ReadTimeoutError(endpoint_url=URL),
    SSLError(endpoint_url=URL, error=EOFError("cut off")),
]
UNREACHED = [EndpointConnectionError(endpoint_url=URL), ConnectTimeoutError(endpoint_url=URL)]


@pytest.mark.parametrize("lost", LOST, ids=lambda lost: type(lost).__name__)
def test_a_lost_response_leaves_the_outcome_of_a_deletion_unknown(lost: ClientError | BotoCoreError) -> None:
    """ECR may have done what it was asked. A look-up has no effect, so its loss is retried like a refusal for now."""
    with pytest.raises(UnknownOutcomeError, match=r"^(ECR failed with ServerException|the connection to ECR broke )"):
        final_error(lost, deleting=True)
    with pytest.raises(ServiceUnavailableError):
        final_error(lost, deleting=False)


@pytest.mark.parametrize("unreached", UNREACHED, ids=lambda unreached: type(unreached).__name__)
def test_a_connection_that_was_never_made_has_had_no_effect(unreached: BotoCoreError) -> None:
    """A call that is known to have done nothing is retried without doubt."""
    for deleting in (True, False):
        with pytest.raises(ServiceUnavailableError, match=r"^ECR could not be reached$") as raised:
            final_error(unreached, deleting=deleting)
        assert raised.value.nothing_done


@pytest.mark.parametrize("response", [{}, {"images": None}, {"images": {}}, {"failures": []}])
def test_a_response_without_a_list_that_ecr_always_sends_is_lost(response: dict[str, Any]) -> None:
    """To botocore, one that was cut short looks empty."""
    with pytest.raises(ServiceUnavailableError, match=r"^ECR's response has no images: it did not arrive whole$"):
        member(response, "images")
    assert member({"images": []}, "images") == []


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"failureCode": "KmsError", "failureReason": "why"}, ("KmsError", "why")),
        ({"failureCode": "SomethingNew", "failureReason": "why"}, ("SomethingNew", "why")),
        ({"failureCode": "KmsError"}, ("KmsError", "ECR gave no reason")),
        ({"failureReason": "why"}, ("Unknown", "why")),
        ({"failureCode": "Ü", "failureReason": "läuft 🐳"}, (r"\xdc", r"l\xe4uft \U0001f433")),
        ({"failureCode": "C" * 1000, "failureReason": "r" * 100_000}, ("C" * 64, "r" * 500)),
    ],
)
def test_a_failure_says_what_ecr_said_in_bounds(entry: Any, expected: tuple[str, str]) -> None:
    """Any code is a failure, whether it is known or not; its text is plain and short."""
    assert failure(TAG, entry) == ImageFailure(TAG, *expected)
