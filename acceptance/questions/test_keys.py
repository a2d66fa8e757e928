"""What a key of one's own is used for."""

import pytest

from acceptance.questions.conftest import Ask
from acceptance.world import World


@pytest.mark.needs("KmsKeyArn")
def test_grants(world: World, ask: Ask) -> None:
    """Which grants do the services make on the stack's key?

    The stack's policies and the key's policy must allow them, or what is written is lost.
    """
    kms, key = world.clients("kms"), world.stack.parameters["KmsKeyArn"]
    grants = [grant for page in kms.get_paginator("list_grants").paginate(KeyId=key) for grant in page["Grants"]]
    for grant in grants:
        grantee = grant.get("GranteePrincipal", "?").rpartition(":")[2]
        constraint = sorted(grant.get("Constraints", {}).get("EncryptionContextSubset", {}))
        ask.note(f"ListGrants: {grantee}", f"{', '.join(sorted(grant['Operations']))}; context {constraint}")
    ask.note("how many grants", len(grants))
