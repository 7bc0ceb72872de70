"""What a request for a restore becomes: its tables, its first shards, or what is wrong with it. Pure."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from chalicelib.backup.chain import links_of, missing_links
from chalicelib.backup.manifest import Manifest, ManifestTable
from chalicelib.errors import Conflict, Fault, NotFound
from chalicelib.restore.model import Job, Kind, LineKind, Link, Shard, Table
from chalicelib.restore.records import shard_sk
from chalicelib.restore.requests import MAX_TABLES, RestoreRequest, target_faults
from chalicelib.restore.target import ION, ion_blocker

_NAMED_IN_AN_ERROR = 20


def sources_of(manifest: Manifest, request: RestoreRequest) -> list[ManifestTable]:
    """The tables of the set that are to be restored; every one of them must have been backed up.

    Raises NotFound for a table the set does not have, Conflict for one that failed.
    """
    if not manifest.tables:
        raise Conflict("backup_not_complete", f"backup {manifest.backup_date} has no tables: nothing to restore")
    names = [table.table_name for table in manifest.tables]
    asked = list(request.tables) if request.tables is not None else names
    unknown = [name for name in (*asked, *(request.target_tables or {})) if name not in names]
    if unknown:
        raise NotFound(
            "table_not_in_backup",
            f"backup {manifest.backup_date} has no {_some(dict.fromkeys(unknown))}; it has: {_some(names)}",
        )
    sources = [table for table in manifest.tables if table.table_name in set(asked)]
    failed = [table for table in sources if table.status == "FAILED"]
    if failed:
        reasons = [f"{table.table_name}: {table.why_failed}" for table in failed]
        good = [table.table_name for table in manifest.tables if table.status == "COMPLETED"]
        raise Conflict(
            "backup_not_complete",
            f"backup {manifest.backup_date} lacks tables that failed ({_some(reasons, '; ')}); "
            f"name the tables to restore: {_some(good) or 'none succeeded'}",
        )
    return sources


def sets_of(backup_date: str, sources: Iterable[ManifestTable]) -> set[str]:
    """All sets that a restore of these tables reads: its own, and those of their chains."""
    return {backup_date, *(link.backup_date for source in sources for link in links_of(source))}


def _some(texts: Iterable[str], joint: str = ", ") -> str:
    every = list(texts)
    more = f" and {len(every) - _NAMED_IN_AN_ERROR} more" if len(every) > _NAMED_IN_AN_ERROR else ""
    return joint.join(every[:_NAMED_IN_AN_ERROR]) + more


def scope_faults(sources: Sequence[ManifestTable], request: RestoreRequest, ledger_table: str) -> list[Fault]:
    """What only shows against the set: its number of tables, and where they would go."""
    mapping = dict(request.target_tables or {})
    faults = target_faults(tuple(source.table_name for source in sources), mapping)
    if len(sources) > MAX_TABLES:
        text = f"the set has {len(sources)} tables, one restore takes at most {MAX_TABLES}: name those to restore"
        faults.append(Fault("$.tables", text))
    if any(mapping.get(source.table_name, source.table_name) == ledger_table for source in sources):
        # The restore would clear or overwrite the rows it works by, and all locks.
        text = f"{ledger_table} is tablevault's own ledger and no target: name another table, or leave it out"
        faults.append(Fault("$.target_tables", text))
    if request.keys is not None and len(sources) != 1:
        faults.append(Fault("$.keys", f"are of one table, and the restore has {len(sources)}: name it in tables"))
    return faults


def table_of(number: int, source: ManifestTable, request: RestoreRequest) -> Table:
    mapping: Mapping[str, str] = request.target_tables or {}
    return Table(
        source=source.table_name,
        target=mapping.get(source.table_name, source.table_name),
        number=number,
        item_count=sum(link.item_count for link in _links(source)),
        definition_key=str(source.definition_key),
        known_blockers=_known_blockers(source),
        safeguarding_total=int(request.takes_safety_backup),
        creating_total=int(request.create_missing_tables),
        finishing_total=int(request.create_missing_tables),
    )


def first_shards(job: Job, tables: Sequence[Table], sources: Sequence[ManifestTable]) -> list[Shard]:
    """One per table for all that is not split further; planning adds the others."""
    kinds = [Kind.PLAN, Kind.TARGET, Kind.VERIFY]
    kinds += [Kind.SAFEGUARD] if job.safety_backup else []
    kinds += [Kind.CREATE, Kind.FINISH] if job.create_missing_tables else []
    return [
        Shard(
            sk=shard_sk(kind, table.number, 0),
            kind=kind,
            source=table.source,
            number=0,
            files=msgspec.json.encode(_links(source)).decode() if kind is Kind.PLAN else "[]",
        )
        for kind in kinds
        for table, source in zip(tables, sources, strict=True)
    ]


def _known_blockers(source: ManifestTable) -> list[str]:
    """What the manifest alone says against a table. It ends the restore in CHECKING, with all other blockers."""
    in_ion = any(link.export_format == ION for link in links_of(source))
    return [*missing_links(source), *([ion_blocker(source.table_name).text] if in_ion else [])]


def _links(source: ManifestTable) -> list[Link]:
    return [
        Link(
            manifest_files_key=str(link.manifest_files_key),
            manifest_files_md5=str(link.manifest_files_md5),
            item_count=link.item_count,
            line_kind=LineKind.RECORD if link.export_type == "INCREMENTAL_EXPORT" else LineKind.ITEM,
        )
        for link in links_of(source)
    ]
