"""What `POST /restores` takes, declared once: the type checks the body and is in the API's description.

InvalidRequest names every fault at once, each with its path: unknown fields, wrong types, values out of range, and
combinations that make no sense.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from chalicelib.backup.layout import BACKUP_DATE
from chalicelib.errors import Fault, InvalidRequest
from chalicelib.selection import TABLE_NAME
from chalicelib.validation import read_fields, whole

LATEST = "latest"
MAX_WORKERS = 1000
# A request is written to the ledger row by row before it is accepted; this many fit well into the API's 29 s.
MAX_TABLES = 500
MAX_KEYS = 1000
MAX_WRITE_UNITS = 100_000_000
PLAN_DIGEST = re.compile(r"[0-9a-f]{64}\Z", re.ASCII)
RESTORE_ID = re.compile(r"r-\d{8}T\d{6}Z-[0-9a-f]{8}\Z", re.ASCII)

TableName = Annotated[
    str,
    Meta(pattern=whole(TABLE_NAME), extra={"message": "must be a table name: 3 to 255 of a-z A-Z 0-9 _ . -"}),
]

# What a key must hold is the table's to say: the types are checked against its definition, when the set is known.
_KEY_MESSAGE = 'must be the attributes of one primary key in DynamoDB JSON, such as {"id": {"S": "a"}}'
_Text = Annotated[str, Meta(pattern=r"^[\s\S]{0,4096}$", extra={"message": "must be at most 4,096 characters of text"})]
_AttributeValue = Annotated[
    Mapping[
        Annotated[str, Meta(pattern="^[SNB]$", extra={"message": "must be S, N or B: no key has another type"})], _Text
    ],
    Meta(max_length=1, extra={"message": _KEY_MESSAGE, "too_many": _KEY_MESSAGE}),
]
_KeyName = Annotated[
    str, Meta(pattern=r"^[\s\S]{1,255}$", extra={"message": "must be an attribute's name of 1 to 255 characters"})
]
PrimaryKey = Annotated[
    Mapping[_KeyName, _AttributeValue],
    Meta(max_length=2, extra={"message": _KEY_MESSAGE, "too_many": _KEY_MESSAGE}),
]


class RestoreRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to restore, and how. Every field may be left out; `{}` restores the newest complete set in place."""

    backup_date: Annotated[
        str,
        Meta(
            pattern=f"^(?:{LATEST}|{whole(BACKUP_DATE).strip('^$')})$",
            description="A set's name; `latest` is the newest in which every asked table succeeded.",
            extra={"message": "must be 'latest' or the name of a backup set: YYYY-MM-DD or YYYY-MM-DDTHHMMSSZ"},
        ),
    ] = LATEST
    tables: (
        Annotated[
            tuple[TableName, ...],
            Meta(
                min_length=1,
                max_length=MAX_TABLES,
                description="Source tables; without it, all of the set.",
                extra_json_schema={"uniqueItems": True},
                extra={
                    "message": "must be a non-empty list of table names; leave it out for all tables of the set",
                    "too_many": f"must have at most {MAX_TABLES} tables; ask for the others in another restore",
                },
            ),
        ]
        | None
    ) = None
    target_tables: (
        Annotated[
            Mapping[TableName, TableName],
            Meta(
                max_length=MAX_TABLES,
                description="Source table to target table, where the names differ. No two sources on one target.",
                extra={
                    "message": "must be an object that maps source tables to target tables",
                    "too_many": f"must name at most {MAX_TABLES} tables; ask for the others in another restore",
                },
            ),
        ]
        | None
    ) = None
    dry_run: Annotated[bool, Meta(description="Read and check every data file, write nothing.")] = False
    clear_existing_data: Annotated[
        bool, Meta(description="Empty the targets first. Needs the scope restore:clear too.")
    ] = False
    mode: Annotated[
        Literal["overwrite", "missing_only", "changed_only"],
        Meta(
            description="What becomes of an item that is there: overwritten, never touched, or read first and written"
            " only where it differs.",
            extra={"message": "must be overwrite, missing_only or changed_only"},
        ),
    ] = "overwrite"
    keys: (
        Annotated[
            tuple[PrimaryKey, ...],
            Meta(
                min_length=1,
                max_length=MAX_KEYS,
                description="Only these primary keys, in DynamoDB JSON, of one table.",
                extra={
                    "message": "must be a non-empty list of primary keys; leave it out for all items",
                    "too_many": f"must have at most {MAX_KEYS} keys; ask for the others in another restore",
                },
            ),
        ]
        | None
    ) = None
    create_missing_tables: Annotated[
        bool, Meta(description="Make targets that do not exist, as the source was when it was backed up.")
    ] = False
    max_write_units: (
        Annotated[
            int,
            Meta(ge=1, le=MAX_WRITE_UNITS, description="Write units a second, of each target, over all workers."),
        ]
        | None
    ) = None
    plan_digest: (
        Annotated[
            str,
            Meta(
                pattern=whole(PLAN_DIGEST),
                description="Of a dry run that was looked at: the restore ends before anything is touched if the plan"
                " is another one by now.",
                extra={"message": "must be the plan_digest of a dry run: 64 hexadecimal digits"},
            ),
        ]
        | None
    ) = None
    verify: Annotated[
        Literal["none", "sample", "full"],
        Meta(
            description="Read back what was restored and compare it: nothing, some items of every data file, or all.",
            extra={"message": "must be none, sample or full"},
        ),
    ] = "none"
    max_workers: Annotated[
        int, Meta(ge=1, le=MAX_WORKERS, description="How many workers this restore may have at once.")
    ] = 5
    safety_backup: (
        Annotated[
            bool,
            Meta(
                description="Take an on-demand backup of each target before it is touched; without it, when clearing."
            ),
        ]
        | None
    ) = None

    @property
    def takes_safety_backup(self) -> bool:
        """Unless said otherwise, before clearing and only then."""
        return self.clear_existing_data if self.safety_backup is None else self.safety_backup


def parse_restore_request(body: Any) -> RestoreRequest:
    """A decoded JSON body as a request; None for no body. Raises InvalidRequest."""
    if body is None:
        body = {}
    if not isinstance(body, dict):
        raise InvalidRequest([Fault("$", "must be a JSON object")])
    values, faults = read_fields(body, RestoreRequest, "$.", "unknown field", "this request takes none")
    faults += _senseless(values)
    if faults:
        raise InvalidRequest(faults)
    return RestoreRequest(**values)


def _senseless(values: Mapping[str, Any]) -> list[Fault]:
    return [*_contradictions(values), *_strangers(values)]


def _contradictions(values: Mapping[str, Any]) -> list[Fault]:
    faults = []
    if values.get("clear_existing_data"):
        if values.get("keys") is not None:
            faults.append(Fault("$.keys", "cannot be combined with clear_existing_data: all other items would be lost"))
        if values.get("mode", "overwrite") != "overwrite":
            text = "cannot be combined with clear_existing_data: nothing would be there to keep or to compare with"
            faults.append(Fault("$.mode", text))
    if values.get("dry_run"):
        if values.get("plan_digest") is not None:
            faults.append(Fault("$.plan_digest", "is for the restore after a dry run, not for the dry run"))
        if values.get("verify", "none") != "none":
            faults.append(Fault("$.verify", "a dry run writes nothing that could be read back"))
    return faults


def _strangers(values: Mapping[str, Any]) -> list[Fault]:
    tables, mapping = values.get("tables"), values.get("target_tables") or {}
    if tables is None:
        return []
    strangers = sorted(set(mapping) - set(tables))
    faults = [Fault(f"$.target_tables.{name}", "is not among the asked tables") for name in strangers]
    return faults + target_faults(tables, mapping)


def target_faults(tables: tuple[str, ...], mapping: Mapping[str, str]) -> list[Fault]:
    """Two sources on one target would overwrite each other."""
    sources_by_target: dict[str, list[str]] = {}
    for source in tables:
        sources_by_target.setdefault(mapping.get(source, source), []).append(source)
    return [
        Fault("$.target_tables", f"{' and '.join(sorted(sources))} would both be restored into {target}")
        for target, sources in sorted(sources_by_target.items())
        if len(sources) > 1
    ]


def is_restore_id(text: str) -> bool:
    return bool(RESTORE_ID.match(text))
