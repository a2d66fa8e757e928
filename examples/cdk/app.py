"""ECR image deletion as a stack of a CDK app: what `sam build` made, and its code as an asset."""

import json
import os
from pathlib import Path
from typing import cast

import boto3
from aws_cdk import App, Stack
from aws_cdk.aws_lambda import CfnFunction
from aws_cdk.aws_s3_assets import Asset
from aws_cdk.cloudformation_include import CfnInclude
from constructs import Construct
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

FUNCTIONS = {"DeletionFunction": "Code", "BulkFunction": "BulkCode", "UsageFunction": "UsageCode"}
"""The functions of the template, and what their assets are called. The third is there with ProtectInUse alone."""


class ImageDeletion(Stack):
    """The stack of template.yaml. Its resources keep their logical ids, so it can take over one that SAM deployed."""

    def __init__(self, scope: Construct, construct_id: str, *, build: Path, parameters: dict[str, str]) -> None:
        super().__init__(scope, construct_id)
        included = CfnInclude(
            self, "Template", template_file=str(without_transform(build / "template.yaml")), parameters=parameters
        )

        for name, asset in FUNCTIONS.items():
            code = Asset(self, asset, path=str(build / name))
            function = cast("CfnFunction", included.get_resource(name))
            function.code = CfnFunction.CodeProperty(s3_bucket=code.s3_bucket_name, s3_key=code.s3_object_key)


def without_transform(template: Path) -> Path:
    """Writes a SAM template as the CloudFormation that SAM's transform makes of it; returns the file, beside it.

    CfnInclude can read SAM templates, but refuses this one: it demands an OnSuccess destination beside OnFailure.
    """
    source = yaml_parse(template.read_text())
    for name in FUNCTIONS:
        source["Resources"][name]["Properties"]["CodeUri"] = "s3://replaced/by-the-asset"
    session = boto3.Session("none", "none", region_name="us-east-1")  # SAM asks it for the partition, and nothing else
    translated = Translator(managed_policy_map={}, sam_parser=Parser(), boto_session=session).translate(source, {})
    target = template.with_name("cloudformation.json")
    target.write_text(json.dumps(translated, indent=1))
    return target


app = App()
ImageDeletion(
    app,
    "ecr-image-deletion",
    build=Path(os.environ.get("SAM_BUILD", "../../.aws-sam/build")),
    parameters={
        "RepositoryPattern": "preview/*",
        "ProtectedTags": "latest,release-*",
        "DryRun": "true",
    },
)
app.synth()
