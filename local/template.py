"""template.yaml as CloudFormation that moto can deploy, and what CloudFormation checks of its parameters."""

import re
from collections.abc import Mapping
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
    "AWS::Logs::QueryDefinition": "not in moto; there are no logs to ask here",
    "AWS::ECR::PullTimeUpdateExclusion": "not in moto; here, reading a manifest is no pull for anybody",
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


def check_parameters(parameters: Mapping[str, str]) -> None:
    """Raises ValueError where CloudFormation would refuse these parameters, which moto does not look at."""
    template = cloudformation()
    values = {name: str(entry["Default"]) for name, entry in template["Parameters"].items() if "Default" in entry}
    values |= parameters
    if unknown := values.keys() - template["Parameters"].keys():
        raise ValueError(f"the template has no parameter {', '.join(sorted(unknown))}")
    for name, entry in template["Parameters"].items():
        if name not in values:
            raise ValueError(f"{name} must have a value")
        value = values[name]
        allowed = [str(each) for each in entry.get("AllowedValues", [value])]
        low, high = float(entry.get("MinValue", "-inf")), float(entry.get("MaxValue", "inf"))
        if (
            value not in allowed
            or re.fullmatch(entry.get("AllowedPattern", ".*"), value, re.DOTALL) is None
            or len(value) > entry.get("MaxLength", len(value))
            or (entry["Type"] == "Number" and not low <= float(value) <= high)
        ):
            raise ValueError(f"{name} {entry.get('ConstraintDescription', 'is not allowed')}")
    for rule in template.get("Rules", {}).values():
        if evaluate(rule["RuleCondition"], values):
            for assertion in rule["Assertions"]:
                if not evaluate(assertion["Assert"], values):
                    raise ValueError(assertion["AssertDescription"])


def evaluate(expression: Any, parameters: Mapping[str, str]) -> Any:
    """Returns the value that CloudFormation gives a condition, or an operand of one, with these parameters."""
    if not isinstance(expression, dict):
        return expression
    [(function, operands)] = expression.items()
    match function:
        case "Ref":
            return parameters[operands]
        case "Condition":
            return evaluate(cloudformation()["Conditions"][operands], parameters)
        case "Fn::Not":
            return not evaluate(operands[0], parameters)
        case "Fn::And":
            return all(evaluate(operand, parameters) for operand in operands)
        case "Fn::Or":
            return any(evaluate(operand, parameters) for operand in operands)
        case "Fn::Equals":
            return evaluate(operands[0], parameters) == evaluate(operands[1], parameters)
        case "Fn::Join":  # of a list that is a parameter
            return operands[0].join(evaluate(operands[1], parameters).split(","))
    raise ValueError(function)
