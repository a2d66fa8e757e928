"""Helpers of the tests of examples/: the stack's template, the contract of requests, and how documents are read."""

import json
import re
import subprocess
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import jsonschema
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

type Json = dict[str, Any]

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"

NOTHING = "AWS::NoValue"
"""The name of what is left out."""

PSEUDO_PARAMETERS = {
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::Region": "eu-west-1",
    "AWS::StackId": "arn:aws:cloudformation:eu-west-1:123456789012:stack/stack/11111111-2222-3333-4444-555555555555",
    "AWS::StackName": "stack",
    "AWS::URLSuffix": "amazonaws.com",
}

SCHEDULER = {
    "<aws.scheduler.schedule-arn>": "arn:aws:scheduler:eu-west-1:123456789012:schedule/group/name",
    "<aws.scheduler.scheduled-time>": "2026-11-25T04:00:00Z",
}
"""Placeholders that EventBridge Scheduler replaces in the input of a target, and their values."""


@cache
def stack() -> Json:
    """template.yaml, its short functions spelled out."""
    template: Json = yaml_parse((ROOT / "template.yaml").read_text())
    return template


@cache
def translated_stack() -> Json:
    """template.yaml as CloudFormation, as SAM's transform makes it."""
    template = yaml_parse((ROOT / "template.yaml").read_text())
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = "s3://bucket/key"
    session = boto3.Session("testing", "testing", region_name="us-east-1")
    translator = Translator(managed_policy_map={}, sam_parser=Parser(), boto_session=session)
    translated: Json = translator.translate(template, {})
    return translated


def template(path: str) -> Json:
    """A CloudFormation template of an example, its short functions spelled out."""
    read: Json = yaml_parse((EXAMPLES / path).read_text())
    return read


def resolve(value: Any, names: Mapping[str, str], false: Collection[str] = ()) -> Any:  # noqa: C901  # a case each
    """Fills in the references of a template: `names` has values for "Parameter", "Resource" and "Resource.Attribute".

    What it has none for is replaced by its name. Conditions hold, but for those that are `false`.
    """
    match value:
        case {"Fn::Sub": [str(text), variables]}:
            resolved: Any = resolve({"Fn::Sub": text}, {**names, **resolve(variables, names, false)}, false)
        case {"Fn::Sub": str(text)}:
            resolved = re.sub(r"\$\{([^}]+)\}", lambda reference: _filled(reference[1], names), text)
        case {"Fn::Join": [str(delimiter), items]}:
            resolved = delimiter.join(resolve(items, names, false))
        case {"Fn::Split": [str(delimiter), text]}:
            resolved = resolve(text, names, false).split(delimiter)
        case {"Fn::Select": [index, items]}:
            resolved = resolve(items, names, false)[int(index)]
        case {"Ref": str(name)}:
            resolved = _filled(name, names)
        case {"Fn::GetAtt": [str(name), str(attribute)]}:
            resolved = _filled(f"{name}.{attribute}", names)
        case {"Fn::If": [condition, chosen, otherwise]}:
            resolved = resolve(otherwise if condition in false else chosen, names, false)
        case dict():
            items = {key: resolve(item, names, false) for key, item in value.items()}
            resolved = {key: item for key, item in items.items() if item != NOTHING}
        case list():
            resolved = [item for item in (resolve(item, names, false) for item in value) if item != NOTHING]
        case _:
            resolved = value
    return resolved


def _filled(name: str, names: Mapping[str, str]) -> str:
    return {**PSEUDO_PARAMETERS, **names}.get(name, name)


def check_request(text: str) -> Json:
    """Parses a request as the function does, and holds it against the contract."""
    request: Json = json.loads(text)
    schema = json.loads((ROOT / "src" / "handler" / "deletion_request.schema.json").read_text())
    jsonschema.validate(request, schema, cls=jsonschema.Draft4Validator)
    return request


def check_scheduled_request(text: str) -> Json:
    """Checks the input of a schedule: each of its runs is a separate request."""
    for placeholder, value in SCHEDULER.items():
        assert placeholder in json.loads(text)["requestId"]
        text = text.replace(placeholder, value)
    assert "<aws." not in text
    return check_request(text)


def check_shell(script: str, shell: str = "bash") -> None:
    """Has the shell parse a script without running it."""
    subprocess.run([shell, "-n"], input=script, text=True, check=True)


def sent_by(script: str, environment: Mapping[str, str], tmp_path: Path) -> tuple[str, str]:
    """Runs a script with an `aws` that sends nothing; returns the queue and the body that it would have sent to SQS."""
    aws = tmp_path / "aws"
    aws.write_text('#!/bin/sh\nfor argument in "$@"; do printf "%s\\0" "$argument"; done\n')
    aws.chmod(0o755)
    printed = subprocess.run(
        ["/bin/sh", "-eu", "-c", script],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    service, command, url_option, url, body_option, body = printed.rstrip("\0").split("\0")
    assert (service, command) == ("sqs", "send-message")
    assert (url_option, body_option) == ("--queue-url", "--message-body")
    return url, body


def shell_blocks(document: str) -> list[str]:
    """The shell commands of a Markdown document, each block without its indentation."""
    blocks = re.findall(r"^( *)```sh\n(.*?)^ *```", document, re.MULTILINE | re.DOTALL)
    return ["\n".join(line.removeprefix(indent) for line in text.splitlines()) for indent, text in blocks]
