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
    "AWS::Lambda::Permission": "moto gives it no id; nobody's permission to invoke is asked for here",
    "AWS::Logs::QueryDefinition": "not in moto; there are no logs to ask here",
    "AWS::ECR::PullTimeUpdateExclusion": "not in moto; here, reading a manifest is no pull for anybody",
}
"""The types of resource that are not deployed here, and why."""


@cache
def batch_size(function: str) -> int:
    """How many messages the event source mapping hands to a function, by its logical name, at a time."""
    mappings = [r for r in cloudformation()["Resources"].values() if r["Type"] == "AWS::Lambda::EventSourceMapping"]
    [mapping] = (m["Properties"] for m in mappings if m["Properties"]["FunctionName"] == {"Ref": function})
    return int(mapping["BatchSize"])


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
    """The translated template without the resources that are left out.

    Rules that are schedules match no event: moto would have each event run them, and time none.
    """
    resources = cloudformation()["Resources"]
    kept = {name: _timeless(resource) for name, resource in resources.items() if resource["Type"] not in LEFT_OUT}
    return cloudformation() | {"Resources": kept}


def _timeless(resource: Json) -> Json:
    if resource["Type"] != "AWS::Events::Rule" or "ScheduleExpression" not in resource["Properties"]:
        return resource
    properties = {name: value for name, value in resource["Properties"].items() if name != "ScheduleExpression"}
    return resource | {"Properties": properties | {"EventPattern": {"source": ["nobody"]}}}


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
        is_list = entry["Type"] == "CommaDelimitedList"
        if not all(_allowed(value, entry) for value in (values[name].split(",") if is_list else [values[name]])):
            raise ValueError(f"{name} {entry['ConstraintDescription']}")
    for rule in template["Rules"].values():
        if evaluate(rule["RuleCondition"], values):
            for assertion in rule["Assertions"]:
                if not evaluate(assertion["Assert"], values):
                    raise ValueError(assertion["AssertDescription"])


def _allowed(value: str, entry: Json) -> bool:
    """Whether a parameter's entry in the template admits a value."""
    if entry["Type"] == "Number" and not entry.get("MinValue", 0) <= int(value) <= entry.get("MaxValue", int(value)):
        return False
    return (
        value in map(str, entry.get("AllowedValues", [value]))
        and re.fullmatch(entry.get("AllowedPattern", ".*"), value, re.DOTALL) is not None
        and len(value) <= entry.get("MaxLength", len(value))
    )


def evaluate(expression: Any, parameters: Mapping[str, str]) -> Any:  # noqa: C901  # a case for each function
    """Returns the value that CloudFormation gives a condition, or an operand of one, with these parameters."""
    if not isinstance(expression, dict):
        return expression
    [(function, operands)] = expression.items()
    match function:
        case "Ref":
            value: Any = parameters[operands]
        case "Condition":
            value = evaluate(cloudformation()["Conditions"][operands], parameters)
        case "Fn::Not":
            value = not evaluate(operands[0], parameters)
        case "Fn::And":
            value = all(evaluate(operand, parameters) for operand in operands)
        case "Fn::Or":
            value = any(evaluate(operand, parameters) for operand in operands)
        case "Fn::Equals":
            value = evaluate(operands[0], parameters) == evaluate(operands[1], parameters)
        case "Fn::Join":
            value = operands[0].join(_items(operands[1], parameters))
        case "Fn::Split":
            value = evaluate(operands[1], parameters).split(operands[0])
        case "Fn::Contains":
            value = operands[1] in _items(operands[0], parameters)
        case _:
            raise ValueError(f"{function} does not stand in a condition of the template")
    return value


def _items(expression: Any, parameters: Mapping[str, str]) -> list[str]:
    """Returns a list: that of a function, or of a parameter, whose value here is text."""
    value = evaluate(expression, parameters)
    return value if isinstance(value, list) else str(value).split(",")
