"""Lambda functions of a run's own: one that is made of an image, so that it is in use, and one that sends to itself."""

import io
import json
import zipfile
from typing import Any

from . import roles
from .aws import Clients, until
from .names import Run

_SECONDS = 120
"""Lambda takes some seconds to take over an image."""
TURNS = 20
"""The turns of the function that sends to itself. It stops there, whatever Lambda does."""
_LOOP = f"""
import json, os, boto3

sqs = boto3.client("sqs")

def handler(event, context):
    for record in event["Records"]:
        turn = int(record["body"]) + 1
        last = turn >= {TURNS}
        sqs.send_message(QueueUrl=os.environ["LAST" if last else "NEXT"], MessageBody=str(turn))
        if not last:
            sqs.send_message(QueueUrl=os.environ["LAST"], MessageBody=str(turn))
"""


def of_image(clients: Clients, run: Run, repository: str, uri: str) -> str:
    """Makes a function of an image, which nobody ever invokes; returns its name. Lambda must read the repository."""
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "lambda.amazonaws.com"},
        "Action": ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    clients("ecr").set_repository_policy(repositoryName=repository, policyText=policy)
    role = roles.create(clients, run, "in-use", "lambda.amazonaws.com", [])
    return _create(clients, run, "in-use", role, PackageType="Image", Code={"ImageUri": uri})


def loop(clients: Clients, run: Run, recursive_loop: str) -> tuple[str, str]:
    """Makes a function that sends each message to its own queue; returns the URLs of that queue and of its record."""
    what = f"turns-{recursive_loop.lower()}"
    sqs = clients("sqs")
    urls = [sqs.create_queue(QueueName=run.name(name), tags=run.tags)["QueueUrl"] for name in (what, f"{what}-record")]
    clients.made["queue"].update(urls)
    arns = [
        sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"] for url in urls
    ]
    actions = ["sqs:SendMessage", "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"]
    statements = [{"Effect": "Allow", "Action": actions, "Resource": arns}]
    role = roles.create(clients, run, what, "lambda.amazonaws.com", statements)
    name = _create(
        clients,
        run,
        what,
        role,
        Runtime="python3.13",
        Handler="loop.handler",
        Code={"ZipFile": _zipped("loop.py", _LOOP)},
        Environment={"Variables": {"NEXT": urls[0], "LAST": urls[1]}},
        Timeout=20,
    )
    lambda_ = clients("lambda")
    lambda_.put_function_recursion_config(FunctionName=name, RecursiveLoop=recursive_loop)
    roles.once_known(
        lambda: lambda_.create_event_source_mapping(
            FunctionName=name, EventSourceArn=arns[0], BatchSize=1, Tags=run.tags
        )
    )
    return urls[0], urls[1]


def _create(clients: Clients, run: Run, what: str, role: str, **more: Any) -> str:
    lambda_, name = clients("lambda"), run.name(what)
    roles.once_known(lambda: lambda_.create_function(FunctionName=name, Role=role, Tags=run.tags, **more))

    def state() -> str:
        found = str(lambda_.get_function_configuration(FunctionName=name).get("State", "Active"))
        return "" if found == "Pending" else found

    found = until(state, f"end of the creation of {name}", _SECONDS)
    if found != "Active":
        raise AssertionError(f"{name} is {found}")
    return name


def _zipped(name: str, text: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        entry = zipfile.ZipInfo(name)
        entry.external_attr = 0o644 << 16
        archive.writestr(entry, text)
    return buffer.getvalue()
