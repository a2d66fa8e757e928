"""The packages that are published, made from template.yaml: what each leaves out, and that nothing is left dangling."""

import copy
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from local.template import evaluate
from tests.examples import ROOT, stack
from tools import audit, package

type Json = dict[str, Any]

VARIANTS = {"serverlessrepo": package.serverlessrepo, "stackset": package.stackset}


def variant(name: str) -> Json:
    """A variant, made of the SAM template as it is."""
    return VARIANTS[name](copy.deepcopy(stack()))


@pytest.mark.lint
def test_cfn_lint_has_no_findings(tmp_path: Path) -> None:
    """No reference, condition or parameter dangles; of W3037, it does not know ecr:ListImageReferrers yet."""
    paths = [tmp_path / f"{name}.json" for name in VARIANTS]
    for path in paths:
        path.write_text(json.dumps(variant(path.stem)))
    command = [str(Path(sys.executable).with_name("cfn-lint")), "--ignore-checks", "W3037", "--format", "parseable"]
    run = subprocess.run([*command, "--", *paths], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout


def test_serverlessrepo_gets_only_types_that_it_takes() -> None:
    """Schedules and saved queries are left out, with their parameters, roles, alarms and rules; all else is there."""
    whole, reduced = stack(), variant("serverlessrepo")
    assert not {r["Type"] for r in reduced["Resources"].values()} & package.NOT_IN_SERVERLESSREPO.keys()
    left_out = {name for name in whole["Resources"].keys() - reduced["Resources"].keys() if "Query" not in name}
    assert left_out == {
        "CanaryAlarm", "CanarySchedule", "LostScheduleAlarm", "PullTimeExclusion", "RequestSchedule",
        "ScheduleGroup", "ScheduleKeyPolicy", "ScheduleRole",
    }  # fmt: skip
    assert whole["Parameters"].keys() - reduced["Parameters"].keys() == {
        "CanaryRepository", "ExcludeFromPullTimes", "ScheduleExpression", "ScheduleRequest",
    }  # fmt: skip
    interface = reduced["Metadata"]["AWS::CloudFormation::Interface"]
    grouped = [name for group in interface["ParameterGroups"] for name in group["Parameters"]]
    assert set(grouped) == interface["ParameterLabels"].keys() == reduced["Parameters"].keys()
    assert reduced["Outputs"] == whole["Outputs"]
    assert not re.search(r'Schedule(Role|Group|Request)|Ref": "ScheduleExpression', json.dumps(reduced["Resources"]))
    # The schedule of what is in use is a rule on the default bus, which it takes.
    for kept in (
        *("DeletionFunction", "BulkFunction", "UsageFunction", "RequestQueue", "BulkQueue", "FunctionRole"),
        "DeadLetterAlarm",
    ):
        assert reduced["Resources"][kept] == whole["Resources"][kept]


def test_stacksets_get_no_transform_and_find_the_code_by_parameters() -> None:
    """The same resources as SAM's transform makes, and nothing that only SAM reads."""
    template = variant("stackset")
    assert "Transform" not in template
    assert not [r for r in template["Resources"].values() if r["Type"].startswith("AWS::Serverless::")]
    keys = {"DeletionFunction": "CodeKey", "BulkFunction": "CodeKey", "UsageFunction": "UsageCodeKey"}
    for function, key in keys.items():
        code = template["Resources"][function]["Properties"]["Code"]
        assert code == {"S3Bucket": {"Ref": "CodeBucket"}, "S3Key": {"Ref": key}}
    assert {"CodeBucket", "CodeKey", "UsageCodeKey"} == template["Parameters"].keys() - stack()["Parameters"].keys()
    assert stack()["Resources"].keys() <= template["Resources"].keys()
    assert len(json.dumps(template)) < 1_000_000  # a template in S3


def test_stacksets_need_the_second_archive_only_with_images_in_use() -> None:
    """One that protects them without it is refused, instead of deployed without a reading."""
    template = variant("stackset")
    rule = template["Rules"]["ReadersHaveCode"]
    default = template["Parameters"]["UsageCodeKey"]["Default"]
    for chosen in ("", "ecs", "lambda,ecs", "declared", "inspector"):
        assert evaluate(rule["RuleCondition"], {"ProtectInUse": chosen}) is bool(chosen)
    [assertion] = rule["Assertions"]
    assert not evaluate(assertion["Assert"], {"UsageCodeKey": default})
    assert evaluate(assertion["Assert"], {"UsageCodeKey": "1.2.3/usage-function.zip"})


def test_the_packages_refer_to_what_lies_beside_them() -> None:
    """Wherever they are downloaded to; of a template that says otherwise, no package is made."""
    documents = "LicenseUrl: ../../LICENSE\nReadmeUrl: ../../README.md\n"
    archives = {"DeletionFunction": "function.zip", "BulkFunction": "function.zip"}
    archives["UsageFunction"] = "usage-function.zip"
    built = documents + "".join(f"CodeUri: {function}\n" for function in archives)
    beside = "LicenseUrl: LICENSE\nReadmeUrl: README.md\n"
    beside += "".join(f"CodeUri: {archive}\n" for archive in archives.values())
    assert package.packaged(built) == beside
    with pytest.raises(ValueError, match="one ReadmeUrl"):
        package.packaged(built.replace("README", "read me"))


def test_the_same_code_makes_the_same_archive(tmp_path: Path) -> None:
    """Whenever and wherever it was built."""
    for name in ("one", "two"):
        (tmp_path / name / "handler").mkdir(parents=True)
        for file in ("handler/app.py", "module.py") if name == "one" else ("module.py", "handler/app.py"):
            (tmp_path / name / file).write_text(f"# {file}\n")
        package.zipped(tmp_path / name, tmp_path / f"{name}.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert archive.namelist() == ["handler/app.py", "module.py"]


@pytest.mark.skipif(not package.CYCLONEDX.exists(), reason="`make check` and `make package` install what writes it")
def test_the_bill_of_materials_lists_what_ships(tmp_path: Path) -> None:
    """Each pinned requirement with its version and hashes, under the project's name and version."""
    package.bill_of_materials(tmp_path / "sbom.json")
    bill = json.loads((tmp_path / "sbom.json").read_text())
    pinned = dict(re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / "src" / "requirements.txt").read_text(), re.MULTILINE))
    assert bill["bomFormat"] == "CycloneDX"
    assert {component["name"]: component["version"] for component in bill["components"]} == pinned
    assert bill["metadata"]["component"]["name"] == "ecr-image-deletion"


@pytest.mark.parametrize(
    ("output", "status", "text"),
    [
        ("", 0, "skipped"),
        ("an error", 0, "skipped"),
        ('{"dependencies": [{"name": "six", "skip_reason": "not found"}]}', 0, "skipped"),
        ('{"dependencies": [{"name": "six", "version": "1.17.0", "vulns": []}]}', 0, "no known vulnerability"),
        (
            '{"dependencies": [{"name": "six", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2"]}]}]}',
            1,
            "six 1: PYSEC-1",
        ),
    ],
)
def test_only_a_vulnerability_fails_the_check(output: str, status: int, text: str) -> None:
    """Where no advisory can be had, a line says so."""
    found, said = audit.verdict(output)
    assert (found, text in said, said.count("\n")) == (status, True, int(status == 1) - status)
