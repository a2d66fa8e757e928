"""What the script of examples/kubernetes declares reaches the stack, and protects the cluster's images."""

import ipaddress
import json
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError, URLError

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from examples.kubernetes import declare
from local.aws import REGION
from local.poller import Handler
from tests.examples import ROOT
from tests.fakes.cluster import CRON_JOBS, PODS, REPLICA_SETS, Cluster, http_error, owner, pod
from tests.harness.in_use import Inventory, address
from tests.harness.outside import REPOSITORY, Outside, ask, by_digest, codes

SOURCE = "eks/prod"
TOKEN = "service-account-token"
CLI = ROOT / ".venv-sam" / "bin" / "aws"

STAND_IN = f"""#!{sys.executable}
import sys, boto3
_, region, service, command, _, url, _, body = sys.argv[1:]
assert (service, command, body) == ("sqs", "send-message", "file:///dev/stdin")
boto3.client("sqs", region_name=region).send_message(QueueUrl=url, MessageBody=sys.stdin.read())
"""
"""An `aws` that can only send a message."""


def certificate(folder: Path) -> ssl.SSLContext:
    """Writes the certificate of an API server on this machine; returns the context that it serves with."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kubernetes")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "ca.crt").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (folder / "key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca.crt", folder / "key")
    return context


@pytest.fixture
def cluster() -> Cluster:
    """A cluster that a test fills; its lists come in pages of two."""
    return Cluster(page=2)


@pytest.fixture
def account(tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Serves the cluster as its API server does; returns the folder with the pod's service account."""

    class ApiServer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                if self.headers["Authorization"] != f"Bearer {TOKEN}":
                    raise http_error(401)
                status, body = 200, json.dumps(cluster.get(self.path)).encode()
            except HTTPError as error:
                status, body = error.code, b"{}"
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    (tmp_path / "token").write_text(TOKEN)
    with ThreadingHTTPServer(("127.0.0.1", 0), ApiServer) as server:
        server.socket = certificate(tmp_path).wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setattr(declare, "ACCOUNT", tmp_path)
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.server_port))
        yield tmp_path
        server.shutdown()
        thread.join()


@pytest.fixture
def function(stack: Outside) -> Handler:
    """Starts an instance in a stack that protects what the cluster declares."""
    variables = Inventory(stack.aws, sources=()).variables
    return stack.start(**variables | {"PROTECT_IN_USE": "declared", "USAGE_SOURCES": SOURCE})


@pytest.fixture(params=["a stand-in", "the AWS CLI"])
def run(
    request: pytest.FixtureRequest, stack: Outside, account: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], None]:
    """Runs the script once, as the CronJob does."""
    request.getfixturevalue("function")  # before: a new instance rids this process of AWS's variables
    if request.param == "a stand-in":
        (account / "aws").write_text(STAND_IN)
    elif CLI.exists():
        (account / "aws").write_text(f'#!/bin/sh\nexec {CLI} --endpoint-url "$AWS_ENDPOINT_URL" "$@"\n')
    else:
        pytest.skip("`make check` installs the AWS CLI")
    (account / "aws").chmod(0o755)
    monkeypatch.setenv("PATH", f"{account}:/usr/bin:/bin")
    monkeypatch.setenv("AWS_ENDPOINT_URL", stack.aws.endpoint_url)
    monkeypatch.setenv("SOURCE", SOURCE)
    monkeypatch.setenv("QUEUE_URL", stack.aws.outputs["RequestQueueUrl"])
    monkeypatch.setenv("REGION", REGION)
    monkeypatch.setattr(sys, "argv", ["declare.py"])
    return declare.main


def test_the_images_of_a_cluster_stay(
    stack: Outside, cluster: Cluster, run: Callable[[], None], function: Handler
) -> None:
    """Those that run, by digest, though the tag has moved; those of a rollback and of a CronJob, by tag."""
    running, rollback, nightly, old = (stack.push(tag) for tag in ("v2", "v1", "nightly", "v0"))
    moved = stack.push("v2")
    name = address(REPOSITORY, "v2")
    cluster.objects = {
        PODS: [pod("nginx:1.27"), pod("nginx:1.27"), pod(name, ran=(f"{name.rpartition(':')[0]}@{running}",))],
        REPLICA_SETS: [owner(address(REPOSITORY, "v1"), replicas=0)],
        CRON_JOBS: [{"spec": {"jobTemplate": owner(address(REPOSITORY, "nightly"))}}],
    }
    assert codes(ask(function, *by_digest(old))) == ["UsageUnknown"]

    run()
    stack.drain(function)

    answer = ask(function, *by_digest(running, moved, rollback, nightly, old))
    assert codes(answer) == ["ImageInUse"] * 4
    assert stack.left() == {running, moved, rollback, nightly}
    assert stack.dead_letters() == []


def test_a_run_that_fails_sends_nothing(
    stack: Outside, cluster: Cluster, run: Callable[[], None], function: Handler
) -> None:
    """Nothing is deleted for lack of it, and the next run declares everything."""
    stack.push("v1")
    cluster.objects = {PODS: [pod(address(REPOSITORY, "v1"))] * 5}
    cluster.failures = {2: http_error(500)}
    with pytest.raises(HTTPError):
        run()
    assert stack.waiting() == []
    assert codes(ask(function, "imageTag=v1")) == ["UsageUnknown"]
    run()
    stack.drain(function)
    assert codes(ask(function, "imageTag=v1")) == ["ImageInUse"]


def test_a_large_cluster_fits_into_a_message(
    stack: Outside, cluster: Cluster, run: Callable[[], None], function: Handler
) -> None:
    """Which is longer than an argument on a command line may be."""
    stack.push("v1")
    cluster.page = 250
    others = [pod(f"registry.example/{'x' * 200}:v{n}") for n in range(1_000)]
    cluster.objects = {PODS: [*others, pod(address(REPOSITORY, "v1"))]}
    run()
    [body] = stack.waiting()
    assert len(body) > 131_072  # the longest argument that Linux takes
    stack.drain(function)
    assert codes(ask(function, "imageTag=v1")) == ["ImageInUse"]


def test_only_the_clusters_own_api_server_is_believed(
    account: Path, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """By the certificate that Kubernetes puts beside the token, which nobody else gets."""
    another = tmp_path_factory.mktemp("another")
    certificate(another)
    (account / "ca.crt").write_bytes((another / "ca.crt").read_bytes())
    with pytest.raises(URLError, match="CERTIFICATE_VERIFY_FAILED"):
        declare.cluster_images(declare.api_server())
    assert cluster.asked == []
