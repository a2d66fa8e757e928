"""The build removes from the package whatever is never called, or only read by people."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

import slim

MODEL: dict[str, Any] = {
    "metadata": {"endpointPrefix": "api.ecr"},
    "documentation": "<p>What it is for.</p>",
    "shapes": {
        "Layer": {
            "type": "structure",
            "documentation": "<p>A layer.</p>",
            "members": {"documentation": {"shape": "Text", "documentation": "<p>Its text.</p>"}},
        },
    },
    "rules": [{"conditions": [], "documentation": "why"}, {"type": "error"}, 1, None],
}
UNDOCUMENTED = {
    "metadata": {"endpointPrefix": "api.ecr"},
    "shapes": {"Layer": {"type": "structure", "members": {"documentation": {"shape": "Text"}}}},
    "rules": [{"conditions": []}, {"type": "error"}, 1, None],
}


def test_a_model_loses_its_texts_alone() -> None:
    """A member that is called "documentation" is part of the API; all else is left as it was, at any depth."""
    assert slim.undocumented(MODEL) == UNDOCUMENTED


def test_botocore_keeps_the_services_that_are_called(tmp_path: Path) -> None:
    """Their models unpacked and without texts, and their endpoints; no examples."""
    for service in (*slim.SERVICES, "ec2"):
        folder = tmp_path / service / "2015-09-21"
        folder.mkdir(parents=True)
        (folder / "service-2.json.gz").write_bytes(gzip.compress(json.dumps(MODEL).encode()))
        (folder / "examples-1.json").write_text("{}")
    partition = {"partition": "aws", "services": {"api.ecr": {"endpoints": {}}, "ec2": {}}}
    (tmp_path / "endpoints.json").write_text(json.dumps({"partitions": [partition]}))
    slim.slim_botocore(tmp_path)
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"endpoints.json", *(f"{service}/2015-09-21/service-2.json" for service in slim.SERVICES)}
    assert json.loads((tmp_path / "ecr/2015-09-21/service-2.json").read_text()) == UNDOCUMENTED
    [kept] = json.loads((tmp_path / "endpoints.json").read_text())["partitions"]
    assert kept == {"partition": "aws", "services": {"api.ecr": {"endpoints": {}}}}


def test_the_contract_becomes_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It refuses what the schema refuses, with an error of the same fields, and needs nothing that is not shipped."""
    (tmp_path / "deletion_request.schema.json").write_text('{"type": "object", "additionalProperties": false}')
    slim.compile_contract(tmp_path)
    assert "import JsonSchema" not in (tmp_path / "contract.py").read_text()
    monkeypatch.syspath_prepend(tmp_path)
    import contract  # type: ignore[import-not-found]  # noqa: PLC0415  # made just now

    contract.validate({}, name_prefix="request")
    with pytest.raises(contract.JsonSchemaValueException) as raised:
        contract.validate({"a": 1}, name_prefix="request")
    error = raised.value
    assert (error.name, error.value, error.rule) == ("request", {"a": 1}, "additionalProperties")
    assert error.definition["type"] == "object"
