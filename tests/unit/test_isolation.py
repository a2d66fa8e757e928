"""The guards of tests/conftest.py hold: a careless test can neither use a person's account nor reach the network."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import boto3
import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1", "169.254.169.254"])
def test_no_connection_beyond_this_machine(address: str) -> None:
    """A connection to another machine is refused before a packet leaves."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as connection, pytest.raises(BaseException, match="beyond this machine"):
        connection.connect((address, 443))


def test_no_datagram_beyond_this_machine() -> None:
    """Nor does a datagram leave."""
    with socket.socket(type=socket.SOCK_DGRAM) as sender, pytest.raises(BaseException, match="beyond this machine"):
        sender.sendto(b"", ("192.0.2.1", 53))


def test_no_name_is_looked_up() -> None:
    """Names of other machines are not even looked up."""
    with pytest.raises(BaseException, match="beyond this machine"):
        socket.getaddrinfo("api.ecr.us-east-1.amazonaws.com", 443)


def test_no_loopback_in_unit_tests() -> None:
    """A unit test cannot reach a server on this machine either."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket() as connection,
        pytest.raises(BaseException, match="not even loopback"),
    ):
        connection.connect(server.getsockname())


def test_no_outage_for_the_code_under_test() -> None:
    """An SDK's call fails the test at once, instead of being retried and handled as an outage."""
    with pytest.raises(BaseException, match="beyond this machine") as refusal:
        boto3.client("ecr").describe_repositories()
    assert not isinstance(refusal.value, Exception)


def test_credentials_open_nothing() -> None:
    """Clients find credentials of no account, and no profile of a person."""
    session = boto3.Session()
    credentials = session.get_credentials()
    assert credentials is not None
    assert (credentials.access_key, credentials.secret_key) == ("testing", "testing")
    assert session.available_profiles == []


def test_nothing_of_a_persons_environment_is_left(tmp_path: Path) -> None:
    """Whatever account, profile, endpoint or proxy a person has set, the tests do not see it."""
    persons = {
        "AWS_ACCESS_KEY_ID": "AKIAPERSON",
        "AWS_SECRET_ACCESS_KEY": "person",
        "AWS_SESSION_TOKEN": "person",
        "AWS_PROFILE": "person",
        "AWS_CONFIG_FILE": str(tmp_path / "person"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "person"),
        "AWS_ENDPOINT_URL": "https://person.example",
        "AWS_ENDPOINT_URL_ECR": "https://person.example",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1/person",
        "AWS_REGION": "person-1",
        "POWERTOOLS_IDEMPOTENCY_DISABLED": "person",
        "HTTPS_PROXY": "http://person.example",
        "http_proxy": "http://person.example",
    }
    script = "import json, os, tests.conftest; print(json.dumps(dict(os.environ)))"
    command = [sys.executable, "-c", script]
    seen = subprocess.run(
        command, cwd=ROOT, env=os.environ | persons, capture_output=True, check=True, text=True
    ).stdout
    assert not [name for name, value in json.loads(seen).items() if "person" in value.lower() and name in persons]
