"""Which tables there are to choose from, asked at each run: a table made yesterday is in today's set."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.aws import DENIED, Client, error_code, error_text
from chalicelib.errors import SelectionFailed
from chalicelib.selection import Chosen, Selection, choose

_TABLE_ARN = ":table/"


class TableFinder:
    """`tagging` makes the client of resourcegroupstaggingapi. It tells tags of a hundred tables in one call, where
    DynamoDB's own ListTagsOfResource takes ten calls a second for one table each
    (https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_ListTagsOfResource.html).
    """

    def __init__(self, dynamodb: Client, tagging: Callable[[], Client], own_table: str) -> None:
        self._dynamodb = dynamodb
        self._tagging = tagging
        self._own_table = own_table

    def choose(self, selection: Selection) -> Chosen:
        """Raises SelectionFailed, where a permission is missing or nothing is chosen, and botocore's errors. Nothing is
        asked where all tables are named in full."""
        tags_by_table: dict[str, dict[str, str]] = {}
        if selection.needs_names:
            tags_by_table = {name: {} for name in self._read(self._names, "dynamodb:ListTables")}
        for key in selection.tag_keys:
            for name, value in self._read(partial(self._tagged, key), "tag:GetResources"):
                if name in tags_by_table:  # what is tagged may be gone: the other list is the newer one
                    tags_by_table[name][key] = value
        chosen = choose(selection, tags_by_table, own_tables=(self._own_table,))
        if not chosen.tables:
            raise SelectionFailed(f"DYNAMODB_TABLES fits no table of this account and region: {selection}")
        return chosen

    def _read(self, read: Callable[[], Iterator[Any]], permission: str) -> list[Any]:
        try:
            return list(read())
        except ClientError as error:
            if error_code(error) not in DENIED:
                raise
            text = f"DYNAMODB_TABLES has patterns or tags, and looking for tables is refused: {error_text(error)}"
            raise SelectionFailed(f"{text}; grant {permission} to this function's role") from error

    def _names(self) -> Iterator[str]:
        pages = self._dynamodb.get_paginator("list_tables").paginate()
        return (str(name) for page in pages for name in page["TableNames"])

    def _tagged(self, key: str) -> Iterator[tuple[str, str]]:
        request = {"ResourceTypeFilters": ["dynamodb:table"], "TagFilters": [{"Key": key}], "ResourcesPerPage": 100}
        for page in self._tagging().get_paginator("get_resources").paginate(**request):
            for resource in page["ResourceTagMappingList"]:
                name = str(resource["ResourceARN"]).partition(_TABLE_ARN)[2]
                tags = {tag["Key"]: tag["Value"] for tag in resource.get("Tags", [])}
                if name and "/" not in name and key in tags:
                    yield name, tags[key]
