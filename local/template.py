"""template.yaml as CloudFormation that moto can deploy."""

from functools import cache
from pathlib import Path
from typing import Any

import boto3
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

from . import resources as _resources  # noqa: F401  # moto finds the types it defines once they are imported

type Json = dict[str, Any]

TEMPLATE = Path(__file__).resolve().parent.parent / "template.yaml"

LEFT_OUT = {
    "AWS::Lambda::EventSourceMapping": "moto would run the function in Docker and ignore batchItemFailures: see Poller",
    "AWS::ECR::PullTimeUpdateExclusion": "not in moto; no look-up here counts as a pull",
    "AWS::Logs::QueryDefinition": "not in moto; there are no logs to query here",
}
"""The types of resource that are not deployed here, and why."""


@cache
def batch_size() -> int:
    """How many messages the event source mapping hands to the function at a time."""
    [mapping] = (r for r in cloudformation()["Resources"].values() if r["Type"] == "AWS::Lambda::EventSourceMapping")
    return int(mapping["Properties"]["BatchSize"])


@cache
def cloudformation() -> Json:
    """The whole template, translated by SAM; the function's code is a placeholder, for it runs in this process."""
    template = yaml_parse(TEMPLATE.read_text())
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            del resource["Properties"]["CodeUri"]
            resource["Properties"]["InlineCode"] = "# runs where the poller is"
    session = boto3.Session("testing", "testing", region_name="us-east-1")
    translated: Json = Translator(managed_policy_map={}, sam_parser=Parser(), boto_session=session).translate(
        template, {}
    )
    return translated


def deployable() -> Json:
    """The translated template without the resources that are left out."""
    resources = cloudformation()["Resources"]
    return cloudformation() | {"Resources": {k: r for k, r in resources.items() if r["Type"] not in LEFT_OUT}}
