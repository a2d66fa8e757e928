"""`sam build` runs this on the installed package before it is compiled: small, and quick to start.

`python -B slim.py FOLDER FUNCTION`. Whatever the function uses stays as it was. The schema of a request becomes Python,
and of the models and endpoints that botocore reads at each start only those of the services that are called remain,
unpacked and without their documentation.
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


def compile_contract(handler: Path) -> None:
    """Writes contract.py, the schema as Python, with the errors it raises: nothing else of fastjsonschema is needed."""
    import fastjsonschema  # noqa: PLC0415  # the package's own
    from fastjsonschema import exceptions  # noqa: PLC0415

    code = fastjsonschema.compile_to_code(json.loads((handler / "deletion_request.schema.json").read_text()))
    imports = "from fastjsonschema import JsonSchemaValueException, JsonSchemaValuesException\n"
    if imports not in code:
        raise SystemExit("fastjsonschema makes code of another kind now: fix slim.py")
    (handler / "contract.py").write_text(code.replace(imports, inspect.getsource(exceptions)))


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


def undocumented(model: Any) -> Any:
    """A model without its texts; a member that is called "documentation" is no text."""
    match model:
        case dict():
            return {
                key: undocumented(value)
                for key, value in model.items()
                if not (key == "documentation" and isinstance(value, str))
            }
        case list():
            return [undocumented(value) for value in model]
    return model


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, separators=(",", ":")))


def main(package: Path, function: str) -> None:
    """Does it all to the package of a function, in a folder."""
    sys.path.insert(0, str(package))
    compile_contract(package / "handler")
    slim_botocore(package / "botocore" / "data", SERVICES[function])
    for unused in (package / "bin", package / "boto3" / "data", *package.glob("fastjsonschema*")):
        shutil.rmtree(unused)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
