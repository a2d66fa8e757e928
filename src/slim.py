"""`sam build` runs this on the installed package before it is compiled: small, and quick to start.

`python -B slim.py FOLDER FUNCTION`. Whatever the function uses stays as it was. The schema of a request becomes Python,
and what `typing.NamedTuple` would make at each start is written out. Of the models and endpoints that botocore reads
then, those of the services that are called remain, unpacked and without their documentation; of two libraries that
others import, what they use.
"""

import ast
import gzip
import inspect
import json
import shutil
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

_DELETES = ("dynamodb", "ecr", "events", "sns", "sqs")
SERVICES = {
    "DeletionFunction": _DELETES,
    "BulkFunction": _DELETES,
    "UsageFunction": ("dynamodb", "ecs", "inspector2", "lambda"),
}
"""What each function of the template calls."""
STAND_INS = {
    # With s3transfer, boto3 moves files to and from S3. To import boto3 loads it, and with it multiprocessing, to see
    # whether this class has an attribute of newer versions.
    "s3transfer/__init__.py": "",
    "s3transfer/manager.py": "class TransferConfig:\n    pass\n",
    # What older Pythons lack, and this one has, as far as anybody here imports it.
    "typing_extensions.py": (
        "from collections.abc import Buffer\n"
        "from typing import NotRequired, ParamSpec, Self, override\n"
        "from warnings import deprecated\n"
    ),
}
"""Libraries of which next to nothing is used, and the files that are left of them."""
_PATTERN = '''
import functools


class Pattern(str):
    """A regular expression that is compiled when it is first used: most requests need one of them."""

    @functools.cached_property
    def search(self):
        return re.compile(self).search


'''


def compile_contract(handler: Path) -> None:
    """Writes contract.py, the schema as Python, with the errors it raises: nothing else of fastjsonschema is needed.

    Its patterns are compiled when they are first used.
    """
    import fastjsonschema  # noqa: PLC0415  # the package's own
    from fastjsonschema import exceptions  # noqa: PLC0415

    schema = json.loads((handler / "deletion_request.schema.json").read_text())
    code = fastjsonschema.compile_to_code(undocumented(schema, "description"))
    imports = "from fastjsonschema import JsonSchemaValueException, JsonSchemaValuesException\n"
    compiled = ": re.compile("
    if imports not in code or compiled not in code:
        raise SystemExit("fastjsonschema makes code of another kind now: fix slim.py")
    code = code.replace(imports, inspect.getsource(exceptions) + _PATTERN).replace(compiled, ": Pattern(")
    (handler / "contract.py").write_text(code)


def write_out_named_tuples(handler: Path) -> None:
    """Writes in each module what `typing.NamedTuple` would make of its classes at each start; see named.py.

    All stays on its line, for tracebacks.
    """
    for path in handler.rglob("*.py"):
        path.write_text(with_named_tuples_written_out(path.read_text()))
    shutil.copy(Path(__file__).with_name("named.py"), handler)


def with_named_tuples_written_out(source: str) -> str:
    """Returns the source of a module so."""
    tree, lines = ast.parse(source), source.splitlines()
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(bases=[ast.Name("NamedTuple")]):
                _write_out(node, lines)
            case ast.ImportFrom(module="typing") if any(name.name == "NamedTuple" for name in node.names):
                lines[node.lineno - 1] = f"from handler import named as _named; {lines[node.lineno - 1]}"
    return "\n".join(lines) + "\n"


def _write_out(node: ast.ClassDef, lines: list[str]) -> None:
    """Writes a field where it stands, and the rest behind the last one."""
    lines[node.lineno - 1] = lines[node.lineno - 1].replace("(NamedTuple)", "(_named.Named)")
    fields = [field for field in node.body if isinstance(field, ast.AnnAssign)]
    names = [ast.unparse(field.target) for field in fields]
    defaults = [
        f"{name!r}: {ast.unparse(field.value)}" for name, field in zip(names, fields, strict=True) if field.value
    ]
    for position, (name, field) in enumerate(zip(names, fields, strict=True)):
        for line in range(field.lineno, field.end_lineno or 0):
            lines[line] = ""
        lines[field.lineno - 1] = f"    {name} = _named.field({position}, None)"
    lines[fields[-1].lineno - 1] += (
        f"; __slots__ = (); _fields = __match_args__ = {tuple(names)}"
        f"; _field_defaults = {{{', '.join(defaults)}}}"
        f"; __new__ = lambda _cls, {', '.join(names)}: _named.new(_cls, ({', '.join(names)},))"
        "; __new__.__defaults__ = (*_field_defaults.values(),)"
    )


def slim_botocore(data: Path, services: Collection[str]) -> None:
    """Removes from botocore's data what concerns other services, and what is for people to read."""
    for folder in list(data.iterdir()):
        if folder.is_dir() and folder.name not in services:
            shutil.rmtree(folder)
    prefixes = set()
    for packed in list(data.rglob("*.json.gz")):
        model = undocumented(json.loads(gzip.decompress(packed.read_bytes())))
        prefixes.add(model.get("metadata", {}).get("endpointPrefix"))
        _write(packed.with_suffix(""), model)
        packed.unlink()
    for examples in list(data.rglob("examples-*.json")):
        examples.unlink()
    endpoints = json.loads((data / "endpoints.json").read_text())
    for partition in endpoints["partitions"]:
        partition["services"] = {name: service for name, service in partition["services"].items() if name in prefixes}
    _write(data / "endpoints.json", endpoints)


def replace_unused(package: Path) -> None:
    """Leaves of two libraries what is used of them: to load the rest is a twentieth of a cold start."""
    if missing := [name for name in STAND_INS if not (package / name).exists()]:
        raise SystemExit(f"nobody brings {missing} any more: remove them from slim.py")
    shutil.rmtree(package / "s3transfer")
    for name, code in STAND_INS.items():
        file = package / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(code)


def undocumented(model: Any, text: str = "documentation") -> Any:
    """A model without its texts, which stand under the key `text`; a member that has this name is no text."""
    match model:
        case dict():
            return {
                key: undocumented(value, text)
                for key, value in model.items()
                if not (key == text and isinstance(value, str))
            }
        case list():
            return [undocumented(value, text) for value in model]
    return model


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, separators=(",", ":")))


def main(package: Path, function: str) -> None:
    """Does it all to the package of a function, in a folder."""
    sys.path.insert(0, str(package))
    compile_contract(package / "handler")
    write_out_named_tuples(package / "handler")
    slim_botocore(package / "botocore" / "data", SERVICES[function])
    replace_unused(package)
    for unused in (package / "bin", package / "boto3" / "data", *package.glob("fastjsonschema*")):
        shutil.rmtree(unused)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
