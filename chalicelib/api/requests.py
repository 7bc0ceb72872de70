"""What the API takes, besides the body of `POST /restores`: the types check requests and are in the description."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from chalicelib.backup.layout import BACKUP_DATE
from chalicelib.restore.requests import MAX_TABLES, RESTORE_ID, TableName
from chalicelib.validation import whole

LARGEST_PAGE = 100

BackupDate = Annotated[str, Meta(pattern=whole(BACKUP_DATE), description="The name of a backup set.")]
RestoreId = Annotated[str, Meta(pattern=whole(RESTORE_ID), description="The id of a restore.")]
# Both are checked where the thing is looked for: a name that cannot be one names nothing, and is 404.
PATH_PARAMETERS = {"backup_date": BackupDate, "restore_id": RestoreId}

Limit = Annotated[int, Meta(ge=1, le=LARGEST_PAGE, description="How many to list.")]
_NEXT_BEFORE = {"message": "must be the name that next_before gave"}


class _Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Nothing(_Request, frozen=True):
    """Takes no fields; the body may be left out."""


class BackupRequest(_Request, frozen=True):
    """What to back up. Every field may be left out; `{}` backs up all configured tables."""

    tables: (
        Annotated[
            tuple[TableName, ...],
            Meta(
                min_length=1,
                max_length=MAX_TABLES,
                description="Configured tables; without it, all of them.",
                extra_json_schema={"uniqueItems": True},
                extra={
                    "message": "must be a non-empty list of table names; leave it out for all",
                    "too_many": f"must have at most {MAX_TABLES} tables; leave it out for all",
                },
            ),
        ]
        | None
    ) = None
    export_type: Annotated[
        Literal["FULL_EXPORT", "INCREMENTAL_EXPORT"],
        Meta(
            description="INCREMENTAL_EXPORT: what changed since a table's newest export. Of a table that has none to"
            " build on, or whose changes since then are not all known, a full export is made.",
            extra={"message": "must be FULL_EXPORT or INCREMENTAL_EXPORT"},
        ),
    ] = "FULL_EXPORT"
    backup_type: Annotated[
        Literal["DYNAMODB_NATIVE_EXPORT", "DYNAMODB_ON_DEMAND_BACKUP"],
        Meta(
            description="DYNAMODB_ON_DEMAND_BACKUP: native on-demand backups, which stay in DynamoDB, and are no set.",
            extra={"message": "must be DYNAMODB_NATIVE_EXPORT or DYNAMODB_ON_DEMAND_BACKUP"},
        ),
    ] = "DYNAMODB_NATIVE_EXPORT"


class RetentionRequest(_Request, frozen=True):
    """A policy to try out. What is left out is as the settings have it."""

    days: Annotated[int, Meta(ge=1, le=36_500, description="Younger sets stay.")] | None = None
    minimum: Annotated[int, Meta(ge=1, le=1000, description="So many COMPLETE sets stay.")] | None = None
    daily: Annotated[int, Meta(ge=0, le=1000, description="Of so many days the last set stays.")] | None = None
    weekly: Annotated[int, Meta(ge=0, le=1000, description="The same of weeks.")] | None = None
    monthly: Annotated[int, Meta(ge=0, le=1000, description="The same of months.")] | None = None
    yearly: Annotated[int, Meta(ge=0, le=1000, description="The same of years.")] | None = None


class BackupPage(_Request, frozen=True):
    limit: Limit = 20
    before: (
        Annotated[
            str, Meta(pattern=whole(BACKUP_DATE), description="List those older than this set.", extra=_NEXT_BEFORE)
        ]
        | None
    ) = None


class RestorePage(_Request, frozen=True):
    limit: Limit = 20
    before: (
        Annotated[
            str, Meta(pattern=whole(RESTORE_ID), description="List those older than this restore.", extra=_NEXT_BEFORE)
        ]
        | None
    ) = None
