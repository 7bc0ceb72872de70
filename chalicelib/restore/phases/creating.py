"""CREATING: a target that was missing, made from its definition and ACTIVE before anything is loaded into it.

May be repeated after any interruption: the table carries the restore's id as a tag from its creation on, and is known
by it. A table of that name without the tag was made by somebody else meanwhile, and is not touched.
"""

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError, ParamValidationError

from chalicelib.aws import Client, error_code, error_text, is_transient
from chalicelib.backup.definition import read_definition
from chalicelib.clock import epoch_ms
from chalicelib.errors import ExportInvalid
from chalicelib.restore.model import Job, Note, Shard, Table, warning
from chalicelib.restore.new_table import FINISHED, OWNER_TAG, create_table_request
from chalicelib.restore.target import id_of
from chalicelib.restore.work import Answer, Ended, Invocation, Surroundings, Yielded, outage_pause_ms

_POLL_S = 1.0
# An empty table and its indexes are there within minutes. Whoever waits longer waits for AWS support.
_LONGEST_CREATION_MS = 6 * 60 * 60 * 1000
# Tags of a table are listed eventually consistent, "immediately after" a creation perhaps without them:
# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_ListTagsOfResource.html
_LOOKS_FOR_TAG = 15
_BEING_MADE = frozenset({"CREATING", "UPDATING"})
_EXISTS = "ResourceInUseException"
_MISSING = "ResourceNotFoundException"
# What passes by itself: too many tables of the account are being made or changed right now.
_LATER = frozenset({"LimitExceededException"})


def create_target(around: Surroundings, run: Invocation, job: Job, table: Table, shard: Shard) -> Answer:
    """Ends well once the target is there, ours and ACTIVE, or was there before; yields at the soft stop."""
    if not table.is_new:
        return Ended()
    try:
        definition = read_definition(around.s3, job.bucket, table.definition_key)
        request = create_table_request(definition, table.target, job.restore_id)
        return _create(around, run, job, table, request)
    except ExportInvalid as error:
        return Ended(failure=f"{table.target} could not be made: {error.message}")
    except ParamValidationError:  # its text would show what the bucket holds
        return Ended(failure=f"{table.target} could not be made: its definition has a value that AWS does not take")
    except ClientError as error:
        if is_transient(error):
            raise
        if error_code(error) in _LATER:
            return Yielded(reason=error_text(error), pause_ms=outage_pause_ms(shard))
        return Ended(failure=f"{table.target} could not be made: {error_text(error)}")


def _create(around: Surroundings, run: Invocation, job: Job, table: Table, request: dict[str, Any]) -> Answer:
    looks = 0
    while True:
        described = _describe(around.dynamodb, table.target)
        status = "MISSING" if described is None else described["TableStatus"]
        if described is None:
            _request(around.dynamodb, request)
        elif status == "ACTIVE":
            owner = _owner(around.dynamodb, described["TableArn"])
            looks += 1
            if owner == job.restore_id:
                return Ended(table_set=id_of(described))
            if owner is not None or looks >= _LOOKS_FOR_TAG:
                return Ended(failure=_strangers_text(table))
        elif status not in _BEING_MADE:
            return Ended(failure=f"{table.target} is {status}, and cannot be restored into")
        elif around.clock() - epoch_ms(described["CreationDateTime"]) > _LONGEST_CREATION_MS:
            text = f"{table.target} was made and is still {status} six hours later; nothing was loaded into it"
            return Ended(failure=f"{text}: delete it, and restore again")
        if around.clock() >= run.soft_stop_ms:
            return Yielded(progressed=True)
        around.sleep(_POLL_S)


def unfinished_notes(dynamodb: Client, described: Mapping[str, Any]) -> list[Note]:
    """A warning where a table was made by a restore that has not put all of its settings on. Where tags may not be
    read, nothing is known of it."""
    try:
        owner = _owner(dynamodb, described["TableArn"])
    except ClientError as error:
        if is_transient(error):
            raise
        return []
    if owner is None or owner.endswith(FINISHED):
        return []
    name = described["TableName"]
    text = f"{name} was made by restore {owner[:60]!r}, which has not finished it: look whether time to live"
    return [warning(f"{text}, point-in-time recovery, auto scaling and deletion protection are as they should be")]


def _describe(dynamodb: Client, table_name: str) -> dict[str, Any] | None:
    try:
        described: dict[str, Any] = dynamodb.describe_table(TableName=table_name)["Table"]
    except ClientError as error:
        if error_code(error) == _MISSING:
            return None
        raise
    return described


def _request(dynamodb: Client, request: dict[str, Any]) -> None:
    """A table that exists already is looked at by whoever goes on: DescribeTable may not have known it yet."""
    try:
        dynamodb.create_table(**request)
    except ClientError as error:
        if error_code(error) != _EXISTS:
            raise


def _owner(dynamodb: Client, table_arn: str) -> str | None:
    """The id of the restore that made a table. Needs dynamodb:ListTagsOfResource."""
    request = {"ResourceArn": table_arn}
    owner = None
    while True:
        try:
            answer = dynamodb.list_tags_of_resource(**request)
        except ClientError as error:
            if error_code(error) == _MISSING:
                return None
            raise
        for tag in answer.get("Tags", []):
            if tag["Key"] == OWNER_TAG:
                owner = str(tag["Value"])
        if not answer.get("NextToken"):
            return owner
        request["NextToken"] = answer["NextToken"]


def _strangers_text(table: Table) -> str:
    return (
        f"a table {table.target} appeared that this restore did not make, and it was not touched: restore again, into"
        " this table as it is or under another name"
    )
