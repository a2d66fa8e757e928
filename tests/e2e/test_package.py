"""The packages are slimmer than what pip installs, and do the same."""

import ast
import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import botocore
import botocore.session
import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel, Shape

from local.rie import PACKAGE, ROOT
from slim import SERVICES, STAND_INS

CALLS = [(function, service) for function, services in SERVICES.items() for service in services]


def package(function: str) -> Path:
    """The package of a function."""
    return PACKAGE.with_name(function)


def session(function: str | None = None) -> botocore.session.Session:
    """One that reads the data in a function's package, or that of botocore as it comes."""
    made = botocore.session.Session()
    paths = [str(package(function) / "botocore" / "data")] if function else None
    made.register_component("data_loader", Loader(paths, include_default_search_paths=not function))
    return made


def members(shape: Shape | None) -> dict[str, tuple[str, object]]:
    """The members of a structure: the shape of each, and where it goes."""
    found = getattr(shape, "members", {})
    return {name: (member.name, member.serialization) for name, member in found.items()}


@pytest.mark.parametrize(("function", "service"), CALLS)
def test_every_region_has_the_same_endpoint(function: str, service: str) -> None:
    """In each partition, what botocore knows of it or not."""
    slim, whole = session(function), session()
    regions = [region for p in whole.get_available_partitions() for region in whole.get_available_regions("ec2", p)]
    assert len(regions) > 30
    for region in [*regions, "xx-nowhere-1"]:
        ours, theirs = (made.create_client(service, region).meta for made in (slim, whole))
        assert ours.endpoint_url == theirs.endpoint_url
        assert ours.region_name == theirs.region_name


@pytest.mark.parametrize(("function", "service"), CALLS)
def test_a_model_has_all_but_its_texts(function: str, service: str) -> None:
    """Every operation with its members, errors, pages and retries."""
    slim, whole = (
        ServiceModel(made.get_component("data_loader").load_service_model(service, "service-2"))
        for made in (session(function), session())
    )
    assert slim.metadata == whole.metadata
    assert slim.shape_names == whole.shape_names
    assert slim.operation_names == whole.operation_names
    for name in whole.operation_names:
        ours, theirs = slim.operation_model(name), whole.operation_model(name)
        assert [shape.name for shape in ours.error_shapes] == [shape.name for shape in theirs.error_shapes]
        assert members(ours.input_shape) == members(theirs.input_shape)
        assert members(ours.output_shape) == members(theirs.output_shape)


def test_both_lanes_have_the_same_package() -> None:
    """What is tested and published of the one is that of the other, to the byte."""
    contents = [
        {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (package("DeletionFunction"), package("BulkFunction"))
    ]
    assert len(contents[0]) > 100
    assert contents[0] == contents[1]


@pytest.mark.parametrize("function", SERVICES)
def test_what_is_left_of_a_library_is_what_others_import(function: str) -> None:
    """In the whole package, but for the files of boto3 that are about S3 alone, which has no model there."""
    left = {name.removesuffix(".py").replace("/", "."): code for name, code in STAND_INS.items()}
    of_s3 = {"boto3/crt.py", "boto3/s3/transfer.py"}
    imported: dict[str, set[str]] = {}
    for source in package(function).rglob("*.py"):
        if str(source.relative_to(package(function))) in of_s3:
            continue
        for node in ast.walk(ast.parse(source.read_bytes())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in _libraries(left):
                imported.setdefault(node.module, set()).update(alias.name for alias in node.names)
            elif isinstance(node, ast.Import):
                assert not {alias.name.split(".")[0] for alias in node.names} & _libraries(left), source
    assert imported.keys() == {"s3transfer.manager", "typing_extensions"}
    for module, names in imported.items():
        defined: dict[str, object] = {}
        exec(left[module], defined)  # noqa: S102  # what the build writes
        assert names <= defined.keys()


def _libraries(modules: Iterable[str]) -> set[str]:
    return {module.split(".")[0] for module in modules}


_NAMED_TUPLES = """
import importlib, inspect, json, pathlib, re, sys
root = pathlib.Path(sys.argv[1])
found = {}
for path in sorted((root / "handler").rglob("*.py")):
    name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
    if name in {"handler.app", "handler.usage_app", "handler.contract", "handler.named"}:
        continue
    module = importlib.import_module(name)
    for each, kind in inspect.getmembers(module, inspect.isclass):
        if kind.__module__ == name and issubclass(kind, tuple):
            defaults = re.sub(" at 0x[0-9a-f]+", "", repr(kind._field_defaults))
            found[f"{name}.{each}"] = [kind._fields, defaults, kind.__doc__]
print(json.dumps([found, "handler.named" in sys.modules]))
"""


@pytest.mark.parametrize("function", SERVICES)
def test_its_named_tuples_are_those_of_the_source(function: str) -> None:
    """Each has the fields and the defaults that it has there, and none is made at the start."""

    def named_tuples(*paths: Path) -> list[Any]:
        command = [sys.executable, "-B", "-S", "-c", _NAMED_TUPLES, str(paths[0])]
        environment = {"PYTHONPATH": os.pathsep.join(map(str, paths))}
        return list(json.loads(subprocess.run(command, env=environment, check=True, capture_output=True).stdout))

    ours, written_out = named_tuples(package(function))
    theirs, made = named_tuples(ROOT / "src", Path(sysconfig.get_path("purelib")))
    assert (written_out, made) == (True, False)
    assert len(ours) > 50
    assert ours == theirs
    for source in (package(function) / "handler").rglob("*.py"):
        assert "(NamedTuple)" not in source.read_text()


@pytest.mark.parametrize("function", SERVICES)
def test_nothing_of_it_waits_to_be_compiled(function: str) -> None:
    """Lambda can keep nothing that Python compiles: each source has its compiled form beside it."""
    missing = [
        source
        for source in package(function).rglob("*.py")
        if not (source.parent / "__pycache__" / f"{source.stem}.cpython-313.pyc").exists()
    ]
    assert missing == []
