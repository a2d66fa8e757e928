"""The inventory of what is in use as tests fill it: what sources say, and when they were last believed."""

import time
from typing import Any

from local.aws import ACCOUNT_ID, REGION, EmbeddedAWS
from local.runtime import SOURCE

TABLE = "usage"
DAY = 86_400


def address(repository: str, image: str, *, account: str = ACCOUNT_ID, region: str = REGION) -> str:
    """Returns what an image is pulled by, named by its digest or by a tag."""
    separator = "@" if image.startswith("sha256:") else ":"
    return f"{account}.dkr.ecr.{region}.amazonaws.com/{repository}{separator}{image}"


class Inventory:
    """A table of what is in use, in the embedded AWS."""

    def __init__(self, aws: EmbeddedAWS, *, sources: tuple[str, ...] = ("ecs",), table: str | None = None) -> None:
        """All of the sources were read just now, and nothing is in use; `table` is one that is there."""
        import sys  # noqa: PLC0415

        if str(SOURCE) not in sys.path:
            sys.path.insert(0, str(SOURCE))
        from handler.usage import images, inventory  # noqa: PLC0415  # once they can be found

        dynamodb = aws.client("dynamodb")
        if table is None:
            dynamodb.create_table(
                TableName=TABLE,
                BillingMode="PAY_PER_REQUEST",
                AttributeDefinitions=[{"AttributeName": n, "AttributeType": "S"} for n in ("id", "item")],
                KeySchema=[
                    {"AttributeName": "id", "KeyType": "HASH"},
                    {"AttributeName": "item", "KeyType": "RANGE"},
                ],
            )
        self._images = images
        self._inventory = inventory.Inventory(dynamodb, table or TABLE)
        self.variables = {"PROTECT_IN_USE": ",".join(sources), "USAGE_TABLE": table or TABLE}
        for source in sources:
            self.read(source)

    def read(self, source: str, *, age: float = 0, lasts: float = DAY) -> None:
        """A reading of a source began so many seconds ago, and is believed for so many more."""
        now = time.time()
        self._inventory.believe(source, began=now - age, expires=now + lasts)

    def use(
        self, *addresses: str, user: str = "ECS service web in cluster prod", source: str = "ecs", days: float = 7
    ) -> None:
        """Images are in use, for so many days from now."""
        now = time.time()
        images = filter(None, map(self._images.parse_address, addresses))
        uses = [self._images.Use(image, user) for image in images]
        run_all: Any = lambda tasks: [task() for task in tasks]  # noqa: E731
        self._inventory.add(source, uses, seen=now, expires=now + days * DAY, run_all=run_all)
