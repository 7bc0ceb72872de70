"""Manifests and table definitions for tests: valid as they are made, changed field by field, or of any kind."""

from typing import Any

import msgspec
from hypothesis import strategies as st

from chalicelib.backup import layout
from chalicelib.backup.definition import Attribute, Autoscaling, KeyAttribute, ScalingPolicy, TableDefinition
from chalicelib.backup.manifest import BACKUP_TYPE, SCHEMA_VERSION, BaseLink, Manifest, ManifestTable

PREFIX = "native-exports"
DATE = "2026-11-21"
MD5 = "FjvgqIxwymKf1RbbqtrZag=="


def _keys(table_name: str, backup_date: str, export_id: str) -> dict[str, Any]:
    folder = f"{layout.export_prefix(PREFIX, backup_date, table_name)}/AWSDynamoDB/{export_id}"
    return {
        "manifest_summary_key": f"{folder}/{layout.SUMMARY_NAME}",
        "manifest_files_key": f"{folder}/{layout.FILES_NAME}",
        "manifest_files_md5": MD5,
    }


def a_link(table_name: str, backup_date: str, **changes: Any) -> BaseLink:
    made = BaseLink(
        backup_date=backup_date,
        export_type="FULL_EXPORT",
        export_format="DYNAMODB_JSON",
        export_arn="arn/export/0",
        export_time=f"{backup_date}T01:00:00.500Z",
        item_count=20,
        size_bytes=1_000,
        data_files=4,
        **_keys(table_name, backup_date, "01795222820000-0000abcd"),
    )
    return msgspec.structs.replace(made, **changes)


def a_full_table(table_name: str, **changes: Any) -> ManifestTable:
    made = ManifestTable(
        table_name=table_name,
        status="COMPLETED",
        table_arn=f"arn/{table_name}",
        export_arn="arn/export/1",
        export_time=f"{DATE}T01:00:00.000Z",
        item_count=7,
        size_bytes=1_234,
        data_files=2,
        definition_key=layout.definition_key(PREFIX, DATE, table_name),
        **_keys(table_name, DATE, "01795222820000-0123abcd"),
    )
    return msgspec.structs.replace(made, **changes)


def an_increment(table_name: str, **changes: Any) -> ManifestTable:
    times = {"export_time": None, "export_from": "2026-11-20T01:00:00.000Z", "export_to": "2026-11-21T01:00:00.000Z"}
    links = (a_link(table_name, "2026-11-20"),)
    return a_full_table(table_name, **{"export_type": "INCREMENTAL_EXPORT", "base": links, **times, **changes})


def a_failed_table(table_name: str, **changes: Any) -> ManifestTable:
    made = ManifestTable(table_name=table_name, status="FAILED", failure_code="Code", failure_message="why")
    return msgspec.structs.replace(made, **changes)


def a_manifest(*tables: ManifestTable, **changes: Any) -> Manifest:
    completed = [table for table in tables if table.status == "COMPLETED"]
    made = Manifest(
        schema_version=SCHEMA_VERSION,
        revision=1,
        backup_date=DATE,
        environment="tests",
        backup_type=BACKUP_TYPE,
        status="COMPLETE" if len(completed) == len(tables) else "PARTIAL",
        s3_bucket="bucket",
        manifest_s3_key=layout.manifest_key(PREFIX, DATE),
        total_tables_processed=len(tables),
        successful_exports=len(completed),
        failed_exports=len(tables) - len(completed),
        total_items_exported=sum(table.item_count for table in completed),
        total_size_mb=sum(table.size_bytes for table in completed) / 1_000_000,
        started_at=f"{DATE}T01:00:00.000Z",
        completed_at=f"{DATE}T01:05:00.000Z",
        tables=tables,
    )
    return msgspec.structs.replace(made, **changes)


def a_definition(**changes: Any) -> TableDefinition:
    made = TableDefinition(
        table_name="orders",
        table_arn="arn/orders",
        captured_at=f"{DATE}T01:00:00.000Z",
        keys=(KeyAttribute("pk", "HASH"), KeyAttribute("sk", "RANGE")),
        attributes=(Attribute("pk", "S"), Attribute("sk", "N")),
        billing_mode="PAY_PER_REQUEST",
    )
    return msgspec.structs.replace(made, **changes)


# --- of any kind -----------------------------------------------------------------------------------------------------

TEXTS = st.text(max_size=20)
COUNTS = st.integers(0, 2**40) | st.sampled_from([0, 2**62 // 40])
FACTS = {"export_arn": st.none() | TEXTS, "item_count": COUNTS, "size_bytes": COUNTS, "data_files": COUNTS}
NAMES = st.from_regex(r"[a-zA-Z0-9_.-]{3,255}", fullmatch=True)
DATES = st.sampled_from(["2026-11-19", "2026-11-20", "2026-11-20T093000Z", DATE])


@st.composite
def tables(draw, name: str):
    made = draw(st.sampled_from([a_full_table, an_increment, a_failed_table]))
    facts = draw(st.fixed_dictionaries({}, optional={**FACTS, "table_arn": st.none() | TEXTS, "requested_time": TEXTS}))
    if made is a_failed_table:
        return made(name, **facts, failure_code=draw(st.none() | TEXTS), failure_message=draw(st.none() | TEXTS))
    if made is an_increment:
        dates = draw(st.lists(DATES, unique=True, max_size=4))
        facts["base"] = tuple(a_link(name, each, **draw(st.fixed_dictionaries({}, optional=FACTS))) for each in dates)
    return made(name, **facts, export_format=draw(st.sampled_from(["DYNAMODB_JSON", "ION"])))


@st.composite
def manifests(draw) -> Manifest:
    names = draw(st.lists(NAMES, unique=True, max_size=4))
    unmatched = tuple(draw(st.lists(TEXTS, max_size=2)))
    version = draw(st.sampled_from([1, 2]))
    made = [draw(tables(name)) for name in names]
    return a_manifest(*made, schema_version=version, environment=draw(TEXTS), unmatched=unmatched)


AWS_OWN = st.dictionaries(TEXTS, st.integers() | TEXTS | st.lists(TEXTS, max_size=2), max_size=3)
DEFINITIONS = st.builds(
    TableDefinition,
    table_name=NAMES,
    table_arn=TEXTS,
    captured_at=TEXTS,
    keys=st.sampled_from(
        [(KeyAttribute("pk", "HASH"),), (KeyAttribute("pk", "HASH"), KeyAttribute("s" * 255, "RANGE"))]
    ),
    attributes=st.just((Attribute("pk", "S"), Attribute("s" * 255, "B"), Attribute("n", "N"))),
    billing_mode=TEXTS,
    provisioned_throughput=st.none() | st.dictionaries(TEXTS, st.integers(0, 2**40), max_size=2),
    global_secondary_indexes=st.lists(AWS_OWN, max_size=2),
    stream=st.none() | AWS_OWN,
    encryption=st.none() | AWS_OWN,
    deletion_protection=st.booleans(),
    time_to_live_attribute=st.none() | TEXTS,
    recovery_period_days=st.none() | st.integers(1, 35),
    tags=st.dictionaries(TEXTS, TEXTS, max_size=3),
    autoscaling=st.none()
    | st.tuples(
        st.builds(
            Autoscaling,
            dimension=TEXTS,
            index_name=st.none() | TEXTS,
            min_capacity=st.integers(1, 9),
            max_capacity=st.integers(1, 9),
            policies=st.tuples(st.builds(ScalingPolicy, policy_name=TEXTS, target_tracking=AWS_OWN)),
        )
    ),
)
