"""moto's Lambda, corrected to behave as the real one does where functions are made of images.

What Lambda does and moto 5.2 does not, all of it done here:

- A function keeps the digest that its image had when its code was last updated; moto makes one up from the URI.
- A published version keeps its image, whatever becomes of the function's code.
- An image that is not in its repository is refused.
- Functions are listed in pages of 50.

Nothing here needs Docker, which moto asks only when it invokes a function.
"""

import copy
import json
from collections.abc import Iterable
from typing import Any

from moto.awslambda.exceptions import InvalidParameterValueException
from moto.awslambda.models import LambdaFunction, LambdaStorage
from moto.awslambda.responses import LambdaResponse

from . import ecr

type Json = dict[str, Any]

_PAGE = 50

_moto_set_function_code = LambdaFunction._set_function_code  # noqa: SLF001  # what is corrected here
_moto_get_code = LambdaFunction.get_code


def _set_function_code(function: LambdaFunction, spec: Json) -> None:
    if "ImageUri" not in spec or spec.get("DryRun"):
        _moto_set_function_code(function, spec)
        return
    digest = ecr.resolve(spec["ImageUri"])
    if digest is None:
        raise InvalidParameterValueException(
            f"Source image {spec['ImageUri']} does not exist. Provide a valid source image."
        )
    # Another dictionary, because the versions published so far share the one before.
    function.code = {**function.code, "ImageUri": spec["ImageUri"]}
    function.code_sha_256, function.code_size = digest.removeprefix("sha256:"), 0


def _get_code(function: LambdaFunction) -> Json:
    answer: Json = _moto_get_code(function)
    if uri := function.code.get("ImageUri"):
        answer["Code"]["ResolvedImageUri"] = f"{ecr.repository_uri(uri)}@sha256:{function.code_sha_256}"
    return answer


def _all(storage: LambdaStorage) -> Iterable[LambdaFunction]:
    """Lists all versions. moto copies the logs of the whole account with each function."""
    for group in list(storage._functions.values()):  # noqa: SLF001  # of the class that this is a method of
        if group["latest"] is not None:
            latest = copy.copy(group["latest"])
            latest.function_arn = f"{latest.function_arn}:$LATEST"
            yield latest
        yield from group["versions"]


def _list_functions(response: LambdaResponse) -> str:
    query = {name: values[0] for name, values in response.querystring.items()}
    functions = list(response.backend.list_functions(query.get("FunctionVersion")))
    start = int(query.get("Marker", 0))
    stop = start + min(int(query.get("MaxItems", _PAGE)), _PAGE)
    page = {"Functions": [function.get_configuration() for function in functions[start:stop]]}
    return json.dumps(page | ({"NextMarker": str(stop)} if stop < len(functions) else {}))


def install() -> None:
    """From now on moto's functions are made of images so."""
    LambdaFunction._set_function_code = _set_function_code  # noqa: SLF001
    LambdaFunction.get_code = _get_code
    LambdaStorage.all = _all
    LambdaResponse.list_functions = _list_functions
