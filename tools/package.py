"""Makes what is published: `make package` builds the function first, and finds everything in .aws-sam/packages.

template.yaml        the SAM template, for `sam deploy`, `sam package` and Terraform
serverlessrepo.json  the same without what the AWS Serverless Application Repository does not take, for `sam publish`
stackset.json        CloudFormation without a transform, for service-managed StackSets; its code by parameters
function.zip         the code of the two functions that delete, for all three
usage-function.zip   the code of the one that reads what is in use
sbom.cdx.json        what ships in it, as CycloneDX
"""

import copy
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import boto3
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

type Json = dict[str, Any]

ROOT = Path(__file__).parent.parent
BUILD = ROOT / ".aws-sam" / "build"
PACKAGES = ROOT / ".aws-sam" / "packages"
CYCLONEDX = ROOT / ".venv-supply" / "bin" / "cyclonedx-py"
CODE = {"DeletionFunction": "function.zip", "BulkFunction": "function.zip", "UsageFunction": "usage-function.zip"}
"""The archive with the code of each function of the template."""
DOCUMENTS = ("README.md", "LICENSE")
"""Files that the template names for the Serverless Application Repository."""

_CODE_PARAMETERS = {
    "CodeBucket": "An S3 bucket, in the region of the stack, with the functions' code.",
    "CodeKey": "The key of function.zip in it. Another version needs another key.",
    "UsageCodeKey": "The key of usage-function.zip in it, which is needed with ProtectInUse alone.",
}
"""What a stack set asks for besides."""
_KEYS = {"function.zip": "CodeKey", "usage-function.zip": "UsageCodeKey"}
_NO_KEY = "none"
_SOURCES = ("ecs", "lambda", "inspector", "declared")

NOT_IN_SERVERLESSREPO = {
    "AWS::Scheduler::Schedule": "not on its list; examples/schedules adds schedules to a stack that is there",
    "AWS::Scheduler::ScheduleGroup": "ditto",
    "AWS::Logs::QueryDefinition": "not on its list; docs/operations.md has the queries",
    "AWS::ECR::PullTimeUpdateExclusion": "newer than its list; `aws ecr register-pull-time-update-exclusion` does it",
}
"""Types of resource that the list in its guide lacks (serverlessrepo/latest/devguide/list-supported-resources.html)."""
SCHEDULED = frozenset({"HasSchedule", "HasCanary"})
"""The conditions under which there are schedules."""


def packaged(built: str) -> str:
    """Returns the template that `sam build` made, with the paths of what lies beside it in the packages."""
    for key, path, name in (
        *(("CodeUri", name, archive) for name, archive in CODE.items()),
        ("ReadmeUrl", "../../README.md", "README.md"),
        ("LicenseUrl", "../../LICENSE", "LICENSE"),
    ):
        if built.count(before := f"{key}: {path}\n") != 1:
            raise ValueError(f"the built template must have one {before.strip()}")
        built = built.replace(before, f"{key}: {name}\n")
    return built


def serverlessrepo(template: Json) -> Json:
    """Returns the SAM template without what the Serverless Application Repository does not take."""
    return without(template, NOT_IN_SERVERLESSREPO, SCHEDULED)


def stackset(template: Json) -> Json:
    """Returns plain CloudFormation, whose code is in a bucket and under a key that are parameters."""
    template = copy.deepcopy(template)
    del template["Metadata"]["AWS::ServerlessRepo::Application"]
    for name, description in _CODE_PARAMETERS.items():
        template["Parameters"][name] = {"Type": "String", "Description": description, "AllowedPattern": ".+"}
        template["Parameters"][name]["ConstraintDescription"] = "must not be empty."
    # The function that reads what is in use is there with ProtectInUse alone.
    template["Parameters"]["UsageCodeKey"] |= {"Default": _NO_KEY}
    template["Rules"]["ReadersHaveCode"] = {
        "RuleCondition": {"Fn::Or": [{"Fn::Contains": [{"Ref": "ProtectInUse"}, source]} for source in _SOURCES]},
        "Assertions": [
            {
                "Assert": {"Fn::Not": [{"Fn::Equals": [{"Ref": "UsageCodeKey"}, _NO_KEY]}]},
                "AssertDescription": "A ProtectInUse needs UsageCodeKey, the key of usage-function.zip.",
            }
        ],
    }
    interface = template["Metadata"]["AWS::CloudFormation::Interface"]
    interface["ParameterGroups"].append({"Label": {"default": "Code"}, "Parameters": list(_CODE_PARAMETERS)})
    labels = zip(_CODE_PARAMETERS, ("Bucket", "Key", "Key for images in use"), strict=True)
    interface["ParameterLabels"] |= {name: {"default": label} for name, label in labels}
    for name, archive in CODE.items():
        function = template["Resources"][name]["Properties"]
        function["CodeUri"] = {"Bucket": {"Ref": "CodeBucket"}, "Key": {"Ref": _KEYS[archive]}}
    session = boto3.Session("none", "none", region_name="us-east-1")  # SAM asks it for the partition, and nothing else
    translated: Json = Translator(managed_policy_map={}, sam_parser=Parser(), boto_session=session).translate(
        template, {}
    )
    return translated


def without(template: Json, types: Collection[str], false: Collection[str]) -> Json:
    """Returns a template without some types of resource, and without what is there under conditions that never hold.

    Conditions, parameters and rules that nothing asks for any more go as well.
    """
    conditions = template["Conditions"]
    never = set(false)
    never |= {name for name, condition in conditions.items() if _is_false(condition, never, conditions)}
    same = {
        name: only["Condition"] for name, c in conditions.items() if (only := _only(c, never)) and "Condition" in only
    }
    reduced: Json = _chosen(copy.deepcopy(template), never, same)
    reduced["Resources"] = {
        name: resource
        for name, resource in reduced["Resources"].items()
        if resource["Type"] not in types and resource.get("Condition") not in never
    }
    reduced["Conditions"] = {name: c for name, c in reduced["Conditions"].items() if name not in never}
    for section in ("Conditions", "Parameters"):
        kept = {name for name in reduced[section] if _is_asked_for(name, section, reduced)}
        reduced[section] = {name: entry for name, entry in reduced[section].items() if name in kept}
    reduced["Rules"] = {n: r for n, r in reduced["Rules"].items() if _references(r) <= reduced["Parameters"].keys()}
    if not reduced["Rules"]:
        del reduced["Rules"]
    interface = reduced["Metadata"]["AWS::CloudFormation::Interface"]
    for group in interface["ParameterGroups"]:
        group["Parameters"] = [name for name in group["Parameters"] if name in reduced["Parameters"]]
    labels = interface["ParameterLabels"]
    interface["ParameterLabels"] = {name: label for name, label in labels.items() if name in reduced["Parameters"]}
    return reduced


def _is_false(condition: Any, never: Collection[str], conditions: Json) -> bool:
    """Whether a condition can never hold, given those that never do."""
    [(function, operands)] = condition.items()
    if function == "Condition":
        return operands in never or _is_false(conditions[operands], never, conditions)
    if function in {"Fn::And", "Fn::Or"}:
        found = [_is_false(operand, never, conditions) for operand in operands]
        return any(found) if function == "Fn::And" else all(found)
    return False


def _only(condition: Json, never: Collection[str]) -> Json | None:
    """The one operand of an Fn::Or that may hold; None where there are several, or none."""
    left = [operand for operand in condition.get("Fn::Or", []) if operand.get("Condition") not in never]
    return left[0] if len(left) == 1 else None


def _chosen(part: Any, never: Collection[str], same: Mapping[str, str], holding: Collection[str] = ()) -> Any:
    """A part of a template, with the one branch of each Fn::If whose condition never holds, or holds around it.

    `same` says which condition takes the place of another. Fn::Or takes two operands or more: of one, that is left.
    """
    match part:
        case {"Fn::If": [condition, then, otherwise]}:
            condition = same.get(condition, condition)
            then = _chosen(then, never, same, {*holding, condition})
            otherwise = _chosen(otherwise, never, same, holding)
            if condition in never or condition in holding:
                return otherwise if condition in never else then
            return {"Fn::If": [condition, then, otherwise]}
        case {"Fn::Or": _} if only := _only(part, never):
            return only
        case dict():
            chosen = {key: _chosen(value, never, same, holding) for key, value in part.items()}
            return {key: value for key, value in chosen.items() if value != {"Ref": "AWS::NoValue"}}
        case list():
            return [c for value in part if (c := _chosen(value, never, same, holding)) != {"Ref": "AWS::NoValue"}]
    return part


def _references(part: Any) -> set[str]:
    """The names that a part of a template refers to."""
    text = json.dumps(part)
    return set(re.findall(r'"Ref": "(\w+)"', text)) | set(re.findall(r"\$\{(\w+)\}", text))


def _is_asked_for(name: str, section: str, template: Json) -> bool:
    """Whether anything asks for a condition or a parameter."""
    asking = [template["Resources"], template["Outputs"]]
    if section == "Parameters":
        return name in _references([*asking, template["Conditions"]])
    text = json.dumps([*asking, {n: c for n, c in template["Conditions"].items() if n != name}])
    return f'"Condition": "{name}"' in text or f'"Fn::If": ["{name}"' in text


def zipped(folder: Path, target: Path) -> None:
    """Zips a folder so that the same content makes the same bytes."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(str(path.relative_to(folder)))  # of 1980, whenever it was built
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())


def bill_of_materials(target: Path) -> None:
    """Writes what ships, as CycloneDX, from the pinned requirements."""
    subprocess.run(  # noqa: S603  # a program of our own, with arguments of our own
        [
            CYCLONEDX, "requirements", ROOT / "src" / "requirements.txt",
            "--pyproject", ROOT / "pyproject.toml", "--mc-type", "application",
            "--output-reproducible", "--output-format", "JSON", "--output-file", target,
        ],
        check=True,
        # It warns that requirements.txt does not say which of them asks for which.
        env={**os.environ, "PYTHONWARNINGS": "ignore::UserWarning"},
    )  # fmt: skip


def main() -> int:
    """Makes all of it anew."""
    shutil.rmtree(PACKAGES, ignore_errors=True)
    PACKAGES.mkdir(parents=True)
    for function, archive in CODE.items():
        zipped(BUILD / function, PACKAGES / archive)
    built = packaged((BUILD / "template.yaml").read_text())
    (PACKAGES / "template.yaml").write_text(built)
    template = yaml_parse(built)
    for name, make in (("serverlessrepo", serverlessrepo), ("stackset", stackset)):
        (PACKAGES / f"{name}.json").write_text(json.dumps(make(template), indent=1) + "\n")
    for name in DOCUMENTS:
        shutil.copy(ROOT / name, PACKAGES)
    bill_of_materials(PACKAGES / "sbom.cdx.json")
    for path in sorted(PACKAGES.iterdir()):
        print(f"{path.stat().st_size:>9,}  {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
