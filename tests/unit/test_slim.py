"""The build removes from the package whatever is never called, or only read by people."""

import copy
import gzip
import json
import pickle
import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import handler
import named
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


@pytest.mark.parametrize("function", slim.SERVICES)
def test_botocore_keeps_the_services_that_are_called(tmp_path: Path, function: str) -> None:
    """Their models unpacked and without texts, and their endpoints; no examples."""
    services = slim.SERVICES[function]
    for service in {"ec2", *(service for each in slim.SERVICES.values() for service in each)}:
        folder = tmp_path / service / "2015-09-21"
        folder.mkdir(parents=True)
        (folder / "service-2.json.gz").write_bytes(gzip.compress(json.dumps(MODEL).encode()))
        (folder / "examples-1.json").write_text("{}")
    partition = {"partition": "aws", "services": {"api.ecr": {"endpoints": {}}, "ec2": {}}}
    (tmp_path / "endpoints.json").write_text(json.dumps({"partitions": [partition]}))
    slim.slim_botocore(tmp_path, services)
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"endpoints.json", *(f"{service}/2015-09-21/service-2.json" for service in services)}
    assert json.loads((tmp_path / services[0] / "2015-09-21/service-2.json").read_text()) == UNDOCUMENTED
    [kept] = json.loads((tmp_path / "endpoints.json").read_text())["partitions"]
    assert kept == {"partition": "aws", "services": {"api.ecr": {"endpoints": {}}}}


def test_each_function_has_the_models_of_what_it_calls() -> None:
    """Of the clients that its modules make, and no others: those that delete start with as little as before."""
    handler = Path(slim.__file__).parent / "handler"
    made = {
        function: set(re.findall(r'client\("(\w+)"', (handler / module).read_text()))
        for function, module in {
            "DeletionFunction": "bootstrap.py",
            "BulkFunction": "bootstrap.py",
            "UsageFunction": "usage_app.py",
        }.items()
    }
    assert made == {function: set(services) for function, services in slim.SERVICES.items()}


def test_of_a_library_what_is_used_is_left(tmp_path: Path) -> None:
    """Its other files are gone; a library that is not there any more is not put there, but named."""
    (tmp_path / "s3transfer").mkdir()
    for name in (*slim.STAND_INS, "s3transfer/upload.py"):
        (tmp_path / name).write_text("raise ImportError")
    slim.replace_unused(tmp_path)
    files = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert files == slim.STAND_INS
    (tmp_path / "typing_extensions.py").unlink()
    with pytest.raises(SystemExit, match=r"typing_extensions\.py"):
        slim.replace_unused(tmp_path)


VALUES = '''
from collections.abc import Mapping
from typing import (
    Any,
    NamedTuple,
)


class Value[T](NamedTuple):
    """A value."""

    name: str
    """Whose."""
    items: tuple[T, ...] = (
        1,
        2,
    )  # more than one line
    named: Mapping[str, Any] = {}

    @property
    def first(self) -> T:
        """The first of them."""
        return self.items[0]

    @classmethod
    def of(cls, name: str) -> "Value[int]":
        return cls(name, named={"a": 1})


class One(NamedTuple):
    only: "int | None"


class Other:
    """It stays as it was."""

    kind: str = "other"
'''


def test_a_named_tuple_that_is_written_out_is_what_typing_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    """In all that a named tuple can, and on the same lines."""
    monkeypatch.setattr(handler, "named", named, raising=False)
    written = slim.with_named_tuples_written_out(VALUES)
    assert "(NamedTuple)" not in written
    seen: list[object] = []
    for name, source in {"by_typing": VALUES, "written_out": written}.items():
        module = types.ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)
        exec(compile(source, name, "exec"), vars(module))  # noqa: S102  # the lines above
        value: Any = module.Value.of("x")
        assert issubclass(module.Value, tuple)
        assert pickle.loads(pickle.dumps(value)) == copy.copy(value) == value  # noqa: S301
        match value:
            case module.Value("x", [1, 2], dict(rest)):
                seen.append(rest)
        errors = []
        for wrong in (
            lambda v=value: v._replace(unknown=1),
            lambda v=value: setattr(v, "name", "y"),
            lambda v=value: setattr(v, "other", "y"),
            lambda m=module: m.Value(),
            lambda m=module: m.One(1, 2),
            lambda m=module: m.Value("x", other=1),
        ):
            with pytest.raises((TypeError, ValueError, AttributeError)) as raised:
                wrong()
            errors.append(raised.type)
        seen.append(
            (
                [tuple(value), str(value), value.first, value._asdict(), value._replace(name="y"), value < ("y",)],
                [module.Value("x", items=()), module.Value(name="x", named={}), module.One(only=None), {module.One(1)}],
                [(each._fields, each._field_defaults, each.__match_args__) for each in (module.Value, module.One)],
                [module.Value.__doc__, module.Value.first.fget.__code__.co_firstlineno, module.Other.kind],
                errors,
            )
        )
    half = len(seen) // 2
    assert seen[:half] == seen[half:]


def test_the_contract_becomes_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It refuses what the schema refuses, with an error of the same fields, and needs nothing that is not shipped."""
    schema = {
        "type": "object",
        "description": "What it is for.",
        "additionalProperties": False,
        "properties": {"name": {"type": "string", "pattern": "^[a-z]+$"}},
    }
    (tmp_path / "deletion_request.schema.json").write_text(json.dumps(schema))
    slim.compile_contract(tmp_path)
    code = (tmp_path / "contract.py").read_text()
    assert "import JsonSchema" not in code
    assert "What it is for." not in code
    monkeypatch.syspath_prepend(tmp_path)
    import contract  # type: ignore[import-not-found]  # noqa: PLC0415  # made just now

    [pattern] = contract.REGEX_PATTERNS.values()
    assert "search" not in vars(pattern)
    contract.validate({}, name_prefix="request")
    contract.validate({"name": "a"}, name_prefix="request")
    assert "search" in vars(pattern), "compiled when it is first used, and kept"
    for name in ("A", "a\n", ""):
        with pytest.raises(contract.JsonSchemaValueException, match="must match pattern"):
            contract.validate({"name": name}, name_prefix="request")
    with pytest.raises(contract.JsonSchemaValueException) as raised:
        contract.validate({"a": 1}, name_prefix="request")
    error = raised.value
    assert (error.name, error.value, error.rule) == ("request", {"a": 1}, "additionalProperties")
    assert error.definition["type"] == "object"
