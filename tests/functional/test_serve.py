"""`make serve`: its commands, its port, and what stands before its services."""

import json
import shlex
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local import serve
from local.aws import EmbeddedAWS
from local.gateway import Gateway, one_at_a_time
from local.images import push_image
from local.poller import load_function

type Invocations = list[tuple[str, Exception | None]]


@pytest.fixture
def invocations(aws: EmbeddedAWS) -> Iterator[Invocations]:
    """The invocations by hand so far, with their errors, while the gateway stands before the services."""
    done: Invocations = []
    function = one_at_a_time(load_function(aws.environment))
    report = lambda request_id, error: done.append((request_id, error))  # noqa: E731  # one line
    with aws.behind(lambda services: Gateway(services, aws.lanes.values(), function, report)):
        yield done


def invoke(aws: EmbeddedAWS, payload: str, **arguments: str) -> Any:
    """Invokes the function as `aws lambda invoke` does."""
    name = arguments.pop("FunctionName", aws.outputs["FunctionName"])
    return aws.client("lambda").invoke(FunctionName=name, Payload=payload.encode(), **arguments)


def test_the_function_is_invoked_in_process(aws: EmbeddedAWS, invocations: Invocations) -> None:
    """Without Docker, that of either lane, by its name or its ARN; the answer is that of the function."""
    aws.client("ecr").create_repository(repositoryName="team/app")
    for number, output in enumerate(("FunctionName", "FunctionArn", "BulkFunctionName", "BulkFunctionArn")):
        tag, name = f"pr-{number}", aws.outputs[output]
        push_image(aws.client("ecr"), "team/app", tags=[tag])
        request = {"repositoryName": "team/app", "imageIds": [f"imageTag={tag}"]}
        response = invoke(aws, json.dumps(request), FunctionName=name)
        answer = json.loads(response["Payload"].read())
        assert [image_id["imageTag"] for image_id in answer["imageIds"]] == [tag]
        assert invocations[-1] == (answer["requestId"], None)
        assert "FunctionError" not in response
    assert aws.images("team/app") == set()


def test_an_error_is_answered_as_lambda_does(aws: EmbeddedAWS, invocations: Invocations) -> None:
    """A rejected request is a function error, with its type and its message."""
    response = invoke(aws, '{"repositoryName": "team/app", "imageIds": ["pr-5"]}')
    answer = json.loads(response["Payload"].read())
    assert response["FunctionError"] == "Unhandled"
    assert answer["errorType"] == "RejectedRequestError"
    assert 'write "imageTag=pr-5"' in answer["errorMessage"]
    [(_, error)] = invocations
    assert error is not None


def test_an_invocation_that_does_not_wait_is_accepted(aws: EmbeddedAWS, invocations: Invocations) -> None:
    """And a dry run of Lambda's own invokes nothing."""
    del invocations
    assert invoke(aws, "{}", InvocationType="DryRun")["StatusCode"] == 204
    assert invoke(aws, "{}", InvocationType="Event")["StatusCode"] == 202


@pytest.mark.parametrize(
    ("payload", "name", "code"),
    [("{}", "another", "ResourceNotFoundException"), ("{", "", "InvalidRequestContentException")],
)
def test_what_cannot_be_invoked_is_refused(
    aws: EmbeddedAWS, invocations: Invocations, payload: str, name: str, code: str
) -> None:
    """A function that is not there, and a payload that is not JSON."""
    with pytest.raises(ClientError) as refused:
        invoke(aws, payload, **({"FunctionName": name} if name else {}))
    assert refused.value.response["Error"]["Code"] == code
    assert invocations == []


@pytest.mark.parametrize(
    ("service", "operation", "arguments"),
    [
        ("apprunner", "list_services", {}),
        ("ecr", "describe_image_replication_status", {"repositoryName": "app", "imageId": {"imageTag": "b"}}),
        ("iam", "get_organizations_access_report", {"JobId": "0" * 36}),
    ],
)
def test_a_call_that_is_not_served_is_an_error_and_no_traceback(
    aws: EmbeddedAWS,
    invocations: Invocations,
    capfd: pytest.CaptureFixture[str],
    service: str,
    operation: str,
    arguments: dict[str, Any],
) -> None:
    """Of a service or an operation that the embedded AWS lacks, in each protocol."""
    del invocations
    with pytest.raises(ClientError, match="does not serve this call") as error:
        getattr(aws.client(service), operation)(**arguments)
    assert error.value.response["Error"]["Code"] == "NotImplemented"
    assert "Traceback" not in capfd.readouterr().err


def test_commands_can_be_pasted_into_bash_and_zsh(aws: EmbeddedAWS) -> None:
    """No comment, which zsh would run, and nothing outside of quotes that a shell would replace."""
    for purpose, command in serve.commands(aws).items():
        assert not purpose.startswith("#")
        words = list(shlex.shlex(command, posix=False, punctuation_chars=True))
        bare = "".join(word for word in words if word[0] not in "'\"")
        assert not set("#*?[]{}()$`!~<>|;^") & set(bare), command
        assert shlex.split(command)
    assert any("lambda invoke" in command for command in serve.commands(aws).values())


def test_a_port_that_is_taken_is_reported_with_one_that_is_free(capsys: pytest.CaptureFixture[str]) -> None:
    """On macOS port 5000 is AirPlay's: nobody should have to find that out."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert serve.main(["--port", str(port)]) == 1
    message = capsys.readouterr().err
    assert message.startswith(f"Port {port} is taken. Take another: make serve PORT=")
    assert serve.is_free("127.0.0.1", int(message.rpartition("=")[2]))
    assert "AirPlay" in serve.taken("127.0.0.1", 5000)
