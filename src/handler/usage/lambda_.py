"""What Lambda runs: the images of all versions of its functions."""

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from typing import Any

from .images import Use, parse_address
from .reading import Unit, listed, member

_PAGE = 50
"""The most that Lambda lists at a time."""


def units(lambda_: Any) -> list[Unit]:
    """Returns the functions that are made of images, with all their versions."""
    versions: defaultdict[str, list[str]] = defaultdict(list)
    for function in listed(lambda_, "list_functions", "Functions", page=_PAGE, FunctionVersion="ALL"):
        if function.get("PackageType") == "Image":
            versions[function["FunctionName"]].append(function["Version"])
    return [Unit(name, partial(_of_function, lambda_, name, numbers)) for name, numbers in versions.items()]


def _of_function(lambda_: Any, name: str, versions: list[str]) -> Iterator[Use]:
    """Yields the image of each version: by its digest, which it keeps whatever its tag names by now."""
    for version in versions:
        # The only call that tells the digest. Of a function made of a ZIP archive, it would also hand out a link to
        # download the code, so it is asked about no other than those made of images.
        try:
            answer = lambda_.get_function(FunctionName=name, Qualifier=version)
        except lambda_.exceptions.ResourceNotFoundException:  # deleted since it was listed
            continue
        code = member(answer, "Code")
        if image := parse_address(code.get("ResolvedImageUri") or member(code, "ImageUri")):
            yield Use(image, f"Lambda function {name}:{version}")
