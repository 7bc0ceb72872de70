"""Metrics as lines of the log, which CloudWatch makes metrics of: no call, no permission, nothing to wait for. Pure.

The embedded metric format is
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html:
each line is one document, of at most 100 metrics and 30 dimensions; a dimension's value has at most 1,024 characters.
"""

import json
from collections.abc import Iterator, Mapping

from chalicelib.backup.assembly import assemble
from chalicelib.backup.manifest import Manifest
from chalicelib.backup.rows import SetRecord
from chalicelib.clock import from_iso

NAMESPACE = "tablevault"
_UNITS = {
    "TablesExported": "Count",
    "TablesFailed": "Count",
    "ItemsExported": "Count",
    "BytesExported": "Bytes",
    "DurationSeconds": "Seconds",
    "ExportDurationSeconds": "Seconds",
    "NewestCompleteBackupAgeSeconds": "Seconds",
}


def document(dimensions: Mapping[str, str], values: Mapping[str, float], at_ms: int) -> str:
    """One line. `at_ms`: at most two weeks ago."""
    metrics = [{"Name": name, "Unit": _UNITS[name]} for name in values]
    directive = {"Namespace": NAMESPACE, "Dimensions": [list(dimensions)], "Metrics": metrics}
    described = {"_aws": {"Timestamp": at_ms, "CloudWatchMetrics": [directive]}}
    cut = {name: value[:1024] for name, value in dimensions.items()}
    return json.dumps({**described, **cut, **values}, separators=(",", ":"))


def of_set(record: SetRecord, at_ms: int) -> Iterator[str]:
    """Of a finished set: one document of its own, and one for each table that was exported."""
    manifest = assemble(record)
    stage = {"Environment": record.set.environment}
    yield document(stage, _totals(manifest), at_ms)
    for table in manifest.tables:
        if table.status != "COMPLETED":
            continue
        rows = record.exports_of(table.table_name)
        started_ms = min((row.started_at_ms for row in rows if row.started_at_ms), default=record.set.started_at_ms)
        values = {
            "ItemsExported": sum(row.item_count for row in rows),
            "BytesExported": sum(row.size_bytes for row in rows),
            "ExportDurationSeconds": max(0, max(row.ended_at_ms or started_ms for row in rows) - started_ms) / 1000,
        }
        yield document({**stage, "TableName": table.table_name}, values, at_ms)


def of_ages(environment: str, ages_ms: Mapping[str, int], at_ms: int) -> Iterator[str]:
    """Of each table the age of its newest complete backup, then the largest of them."""
    stage = {"Environment": environment}
    for table_name, age_ms in ages_ms.items():
        yield document({**stage, "TableName": table_name}, _age(age_ms), at_ms)
    if ages_ms:
        yield of_largest_age(environment, max(ages_ms.values()), at_ms)


def of_largest_age(environment: str, age_ms: int, at_ms: int) -> str:
    return document({"Environment": environment}, _age(age_ms), at_ms)


def _age(age_ms: int) -> dict[str, float]:
    return {"NewestCompleteBackupAgeSeconds": max(0, age_ms) / 1000}


def _totals(manifest: Manifest) -> dict[str, float]:
    duration_ms = from_iso(manifest.completed_at) - from_iso(manifest.started_at)
    return {
        "TablesExported": manifest.successful_exports,
        "TablesFailed": manifest.failed_exports,
        "ItemsExported": manifest.total_items_exported,
        "BytesExported": round(manifest.total_size_mb * 1_000_000),
        "DurationSeconds": max(0, duration_ms) / 1000,
    }
