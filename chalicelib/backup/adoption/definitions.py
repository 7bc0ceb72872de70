"""table.json of an adopted export: the one that stands there, or the table as it is described now."""

from collections.abc import Callable
from typing import NamedTuple

from botocore.exceptions import ClientError

from chalicelib.aws import Client, error_code
from chalicelib.backup import layout
from chalicelib.backup.capture import capture_table
from chalicelib.backup.definition import TableDefinition, encode_definition
from chalicelib.backup.failures import NO_TABLE
from chalicelib.backup.objects import SetObjects
from chalicelib.backup.plan import Failure
from chalicelib.clock import Clock
from chalicelib.settings import Settings

_STANDS_THERE = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})


class Definitions(NamedTuple):
    settings: Settings
    dynamodb: Client
    s3: Client
    clock: Clock
    autoscaling: Callable[[], Client] | None

    def ensured(
        self, backup_date: str, table_name: str, table_arn: str, standing: TableDefinition | None
    ) -> TableDefinition | Failure:
        """The definition of an export of the table `table_arn`. What stands there must be of that very table; where
        nothing does, the table is described and written down. Raises botocore's errors."""
        key = layout.definition_key(self.settings.s3_exports_prefix, backup_date, table_name)
        if standing is not None:
            return standing if standing.table_arn == table_arn else _of_another(key, standing.table_arn, table_arn)
        try:
            captured = capture_table(self.dynamodb, table_name, self.clock(), self.autoscaling).definition
        except ClientError as error:
            if error_code(error) in NO_TABLE:
                return _lost(key, table_name)
            raise
        if captured.table_arn != table_arn:
            return _of_another(f"table {table_name} of this account and region", captured.table_arn, table_arn)
        self._put(key, captured)
        return captured

    def arn_now(self, table_name: str) -> str | None:
        """Of the table as it exists now. Raises botocore's errors."""
        try:
            return str(self.dynamodb.describe_table(TableName=table_name)["Table"]["TableArn"])
        except ClientError as error:
            if error_code(error) in NO_TABLE:
                return None
            raise

    def _put(self, key: str, definition: TableDefinition) -> None:
        """Unless another run came first, whose is as good: both describe the table as it is now."""
        objects = SetObjects.of(self.settings, self.s3)
        try:
            objects.put_json(self.settings.backup_bucket, key, encode_definition(definition), IfNoneMatch="*")
        except ClientError as error:
            if error_code(error) not in _STANDS_THERE:
                raise


def _of_another(what: str, said: str, wanted: str) -> Failure:
    return Failure("DefinitionInvalid", f"{what} is {said[:300]}, the export is of {wanted}: its keys may be others")


def _lost(key: str, table_name: str) -> Failure:
    return Failure(
        "DefinitionLost",
        f"{key} is missing and table {table_name} does not exist any more, so its keys are not known; copy the "
        "table.json of another set of it there, then the export's manifest-summary.json over itself",
    )
