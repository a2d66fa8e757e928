"""`sam build` runs this on the installed package before it is compiled: small, and quick to start.

`python -B slim.py FOLDER FUNCTION`. Whatever the function uses stays as it was. The schema of a request becomes Python,
and of the models and endpoints that botocore reads at each start only those of the services that are called remain,
unpacked and without their documentation. Of two libraries that others import, what they use of them is left.
"""

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
    slim_botocore(package / "botocore" / "data", SERVICES[function])
    replace_unused(package)
    for unused in (package / "bin", package / "boto3" / "data", *package.glob("fastjsonschema*")):
        shutil.rmtree(unused)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
