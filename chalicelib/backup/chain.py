"""Chains: the exports that a table of a set is restored from, the full one first, then its increments. Pure.

An incremental export holds of every item that changed in its window how the item stood at the window's end. Windows
that overlap do no harm, since the later export says of each of its keys what was last; a gap between them does: what
changed in it is in no export.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/S3DataExport.Output.html
"""

from collections.abc import Sequence

from chalicelib.backup import layout
from chalicelib.backup.documents import shown
from chalicelib.backup.manifest import BaseLink, ManifestTable
from chalicelib.clock import from_iso, iso


def links_of(table: ManifestTable) -> tuple[BaseLink, ...]:
    """Every export that restoring this table needs, in the order in which they are loaded; its own is the last.

    Of a table that COMPLETED in a manifest that `decode_manifest` took: its keys are there. Whether the links make a
    whole chain, `missing_links` says.
    """
    summary_key, files_key = str(table.manifest_summary_key), str(table.manifest_files_key)
    own = BaseLink(
        backup_date=layout.backup_date_of(files_key),
        export_type=table.export_type,
        export_format=table.export_format,
        export_arn=table.export_arn,
        item_count=table.item_count,
        size_bytes=table.size_bytes,
        data_files=table.data_files,
        manifest_summary_key=summary_key,
        manifest_files_key=files_key,
        manifest_files_md5=str(table.manifest_files_md5),
        export_time=table.export_time,
        export_from=table.export_from,
        export_to=table.export_to,
    )
    return (*table.base, own)


def reach_ms_of(link: BaseLink) -> int | None:
    """Up to when an export tells what there was: the moment of a full one, the end of an increment. None: it does not
    say, as a full one need not that nothing continues."""
    window = _window(link)
    return None if isinstance(window, str) else window[1]


def missing_links(table: ManifestTable) -> list[str]:
    """Why the table cannot be restored from the links its set names, for an operator; nothing for a whole chain.

    The first link must be a full export. Every later one must be an increment that begins no later than the one
    before it ends, and ends after that. A beginning is a whole second, the moment of a full export may lie within one:
    DynamoDB takes times of a request in seconds.
    """
    links = links_of(table)
    if len(links) == 1 and links[0].export_type == "FULL_EXPORT":
        return []  # sets of the first schema version say no export time that anything depends on
    return [
        f"{table.table_name}: the export in backup set {link.backup_date} {why}; restore another set"
        for link, why in _broken(links)
    ]


def _broken(links: Sequence[BaseLink]) -> list[tuple[BaseLink, str]]:
    broken = []
    reached_ms: int | None = None
    for number, link in enumerate(links):
        window = _window(link)
        if isinstance(window, str):
            broken.append((link, window))
            reached_ms = None  # nothing can be said of where the next one must begin
            continue
        why = _misfit(link, window, reached_ms, is_first=number == 0)
        if why:
            broken.append((link, why))
        reached_ms = window[1]
    return broken


def _window(link: BaseLink) -> tuple[int, int] | str:
    """From when to when an export tells what changed, in epoch milliseconds; a full one has all up to its moment."""
    if link.export_type == "FULL_EXPORT":
        moment_ms = _moment_ms(link.export_time)
        return (0, moment_ms) if moment_ms is not None else f"has no export_time: {_said(link.export_time)}"
    from_ms, to_ms = _moment_ms(link.export_from), _moment_ms(link.export_to)
    if from_ms is None:
        return f"does not say from when it is: {_said(link.export_from)}"
    if to_ms is None:
        return f"does not say to when it is: {_said(link.export_to)}"
    return from_ms, to_ms


def _misfit(link: BaseLink, window: tuple[int, int], reached_ms: int | None, *, is_first: bool) -> str | None:
    from_ms, to_ms = window
    is_full = link.export_type == "FULL_EXPORT"
    if is_first and not is_full:
        return "is an increment, and the full export that it builds on is not named"
    if not is_first and is_full:
        return "is a full export in the middle of a chain"
    if to_ms <= from_ms:
        return f"ends at {iso(to_ms)}, before it begins, at {iso(from_ms)}"
    if reached_ms is None:
        return None
    if from_ms > reached_ms:
        return f"begins at {iso(from_ms)}, and what changed since {iso(reached_ms)} is in no export before it"
    if to_ms <= reached_ms:
        return f"ends at {iso(to_ms)}, not after the one before it, at {iso(reached_ms)}"
    return None


def _moment_ms(text: str | None) -> int | None:
    try:
        moment_ms = from_iso(text or "")
        iso(moment_ms)  # a zone may lead out of the calendar
    except (ValueError, OverflowError):
        return None
    return moment_ms


def _said(text: str | None) -> str:
    return "nothing is given" if text is None else f"'{shown(text)}' is no time in UTC"
