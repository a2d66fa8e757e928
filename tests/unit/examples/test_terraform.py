"""The Terraform of examples/ passes parameters that the template has, and schedules valid requests."""

import json
import re
from typing import Any

import hcl2
import pytest

from tests.examples import EXAMPLES, check_scheduled_request, stack

FOLDER = EXAMPLES / "terraform"


def read() -> dict[str, list[Any]]:
    """All blocks of the folder, by their kind."""
    options = hcl2.SerializationOptions(with_comments=False, explicit_blocks=False, strip_string_quotes=True)
    blocks: dict[str, list[Any]] = {}
    for path in sorted(FOLDER.glob("*.tf")):
        for kind, found in hcl2.loads(path.read_text(), serialization_options=options).items():
            blocks.setdefault(kind, []).extend(found)
    return blocks


BLOCKS = read()
TEXT = "\n".join(path.read_text() for path in sorted(FOLDER.glob("*.tf")))


def block(kind: str, resource_type: str) -> Any:
    """The arguments of the only resource, or data source, of a type."""
    [found] = [named for each in BLOCKS[kind] for key, named in each.items() if key == resource_type]
    [arguments] = found.values()
    return arguments


def schedules() -> dict[str, Any]:
    """The schedules, by their name."""
    [found] = [each["schedules"] for each in BLOCKS["locals"] if "schedules" in each]
    return dict(found)


def test_the_parameters_are_the_templates() -> None:
    """Each is known, takes its value, and none that has no default is missing."""
    known = stack()["Parameters"]
    passed = block("resource", "aws_cloudformation_stack")["parameters"]
    assert passed.keys() <= known.keys()
    assert {name for name, parameter in known.items() if "Default" not in parameter} <= passed.keys()
    for name, value in passed.items():
        if not str(value).startswith("${"):
            assert re.fullmatch(known[name].get("AllowedPattern", ".*"), str(value)), name
    assert known["DryRun"]["AllowedValues"] == ["true", "false"]  # as Terraform writes a bool


def test_the_outputs_are_the_templates() -> None:
    """Those that Terraform reads of the stack."""
    read_outputs = set(re.findall(r'\.outputs\["(\w+)"\]', TEXT))
    assert read_outputs == {"RequestQueueUrl", "RequestQueueArn", "DeadLetterQueueArn", "SenderPolicyArn"}
    assert read_outputs <= stack()["Outputs"].keys()


def test_the_stack_may_be_created() -> None:
    """It has roles and a transform. Its template is too large for a call, so it is in the bucket."""
    arguments = block("resource", "aws_cloudformation_stack")
    assert arguments["capabilities"] == ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]
    assert "template_body" not in arguments
    assert "aws_s3_object.template.key" in arguments["template_url"]


@pytest.mark.parametrize("name", schedules())
def test_a_schedules_request_satisfies_the_schema(name: str) -> None:
    """With the requestId that all of them get; it is in a repository that the stack allows."""
    [request_id] = [each["request_id"] for each in BLOCKS["locals"] if "request_id" in each]
    request = check_scheduled_request(json.dumps(schedules()[name]["request"] | {"requestId": request_id}))
    pattern = block("resource", "aws_cloudformation_stack")["parameters"]["RepositoryPattern"]
    for repository in request.get("repositoryNames", [request.get("repositoryName")]):
        assert repository.startswith(pattern.removesuffix("*"))


def test_schedulers_placeholders_are_not_escaped() -> None:
    """Terraform's jsonencode makes < and > into escapes that Scheduler does not read; they are replaced back."""
    [target] = block("resource", "aws_scheduler_schedule")["target"]
    encoded = "jsonencode(merge(each.value.request, {requestId = local.request_id}))"
    assert target["input"] == rf'${{replace(replace({encoded}, "\\u003c", "<"), "\\u003e", ">")}}'


def test_the_schedules_role_only_sends() -> None:
    """To the two queues."""
    documents = [named for each in BLOCKS["data"] for key, named in each.items() if key == "aws_iam_policy_document"]
    statements = {name: body["statement"][0] for each in documents for name, body in each.items()}
    sending = {name: statement for name, statement in statements.items() if not name.endswith("_trust")}
    assert sending.keys() == {"scheduler"}
    assert sending["scheduler"]["actions"] == ["sqs:SendMessage"]
    assert sending["scheduler"]["resources"] == ["${local.request_queue_arn}", "${local.dead_letter_queue_arn}"]


def test_what_cannot_be_delivered_is_kept() -> None:
    """In the stack's dead-letter queue."""
    [target] = block("resource", "aws_scheduler_schedule")["target"]
    assert target["dead_letter_config"] == [{"arn": "${local.dead_letter_queue_arn}"}]
