"""The emulator's exports, made real: ExportTableToPointInTime, DescribeExport and ListExports as on AWS.

Every call goes to the emulator first, which checks permissions and required fields; its answer is then replaced
by ours. The table is read before the call is answered, so what is written afterwards is never in the export;
the objects are written after it, in a thread of the export's own.

Not as on AWS: a past ExportTime is checked and recorded, but the data are those of the call, since the emulator
keeps no history; and the objects are written by the emulator's root user, not with the caller's rights.
"""

import asyncio
import json
import logging
import secrets
import threading
import uuid
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from chalicelib.clock import Clock, system_clock
from sandbox.exports.layout import ExportFacts, new_export_id
from sandbox.exports.partitions import Partitions
from sandbox.exports.records import ExportRecord, ExportRecords, page_of
from sandbox.exports.requests import (
    ExportRequest,
    Refusal,
    TableFacts,
    check_recovery_window,
    read_export_request,
)
from sandbox.exports.snapshot import Connection, ConnectionClosed, read_table_facts, scan_items
from sandbox.exports.writer import WrittenExport, write_partitions

Answer = tuple[int, list[tuple[bytes, bytes]], bytes]
Forward = Callable[[bytes], Awaitable[Answer]]
Writer = Callable[..., WrittenExport]

_log = logging.getLogger(__name__)


class ExportOverlay:
    """Answers the export operations of one emulator at `endpoint_url`; lives on the server's event loop.

    `write` turns a table's partitions into objects. An export that shall be slow, fail or stay silent needs
    another one, with the signature of `write_partitions`.
    """

    OPERATIONS = frozenset({"ExportTableToPointInTime", "DescribeExport", "ListExports"})

    def __init__(self, endpoint_url: str, *, clock: Clock = system_clock, write: Writer = write_partitions) -> None:
        self._endpoint_url = endpoint_url
        self._clock = clock
        self._write = write
        # Not the event loop's own pool: the emulator's Lambda functions hold its threads while they wait for us.
        self._lookups = ThreadPoolExecutor(4, thread_name_prefix="export-lookup")
        self._start_empty()

    def reset(self) -> None:
        """Forgets every export. Those that run break off at their next call and write nothing more."""
        self._connection.close()
        self._start_empty()

    async def __call__(self, operation: str, scope: MutableMapping[str, Any], body: bytes, forward: Forward) -> Answer:
        """Answers one of OPERATIONS. `forward` sends a body to the emulator and returns its answer.

        The emulator does not know our export ARNs: its ExportNotFoundException still means that the caller may
        ask, and ours is the last word.
        """
        status, headers, reply = await forward(body)
        if status != 200 and b"ExportNotFoundException" not in reply:
            return status, headers, reply
        handle = {
            "ExportTableToPointInTime": self._export,
            "DescribeExport": self._describe,
            "ListExports": self._list,
        }[operation]
        try:
            return _answer(200, await handle(json.loads(body)))
        except Refusal as refusal:
            return _refused(refusal)

    def _start_empty(self) -> None:
        self._connection = Connection(self._endpoint_url)
        self._records = ExportRecords()
        self._admission = asyncio.Lock()

    async def _export(self, body: Mapping[str, Any]) -> dict[str, Any]:
        request = read_export_request(body, new_token=str(uuid.uuid4()))
        async with self._admission:  # or two calls with one token would both find it unused
            record = self._records.repeated(request, self._clock()) or await self._start(request)
            description = record.description
        # A repeated call waits too: what its caller writes next must not leak into the first call's scan.
        await record.snapshot_taken.wait()
        return {"ExportDescription": description}

    async def _describe(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return {"ExportDescription": self._records.get(body["ExportArn"]).description}

    async def _list(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """As on AWS, a deleted table's exports are not listed, though each can still be described."""
        records = self._records.newest_first(body.get("TableArn"))
        alive = await self._in_thread(self._existing_table_ids, records)
        return page_of([record for record in records if record.facts.table_id in alive], body)

    async def _start(self, request: ExportRequest) -> ExportRecord:
        now_ms = self._clock()
        connection = self._connection
        table = await self._in_thread(_table_facts, connection, request.region, request.table_name, now_ms)
        check_recovery_window(request, table, now_ms)
        record = ExportRecord(request, _facts(request, table, now_ms))
        self._records.add(record)
        loop = asyncio.get_running_loop()

        def snapshot_taken() -> None:
            with suppress(RuntimeError):  # the server has stopped meanwhile; nobody waits any more
                loop.call_soon_threadsafe(record.snapshot_taken.set)

        # A daemon: a stopping server must not wait for an export whose endpoint it is itself.
        threading.Thread(
            target=self._run, args=(record, table, connection, snapshot_taken), name="export", daemon=True
        ).start()
        return record

    def _run(
        self,
        record: ExportRecord,
        table: TableFacts,
        connection: Connection,
        snapshot_taken: Callable[[], None],
    ) -> None:
        region = record.request.region
        try:
            with Partitions(partition_count(table.item_count)) as partitions:
                items = scan_items(connection.client("dynamodb", region), table.table_name)
                partitions.fill(items, table.key_names)
                snapshot_taken()
                written = self._write(
                    connection.client("s3", region),
                    record.facts,
                    partitions,
                    now_ms=self._clock,
                    billed_size_bytes=table.size_bytes,
                )
            record.complete(written)
        except ConnectionClosed:
            _log.info("export %s: broken off by a reset", record.facts.export_arn)
        except Exception as error:  # whatever it is, an export must end, or its caller waits for ever
            record.fail(error, self._clock())
            _log.warning("export %s: FAILED, %s", record.facts.export_arn, record.description["FailureCode"])
        finally:
            snapshot_taken()

    def _existing_table_ids(self, records: Sequence[ExportRecord]) -> set[str]:
        tables = {(record.request.region, record.request.table_name) for record in records}
        existing = set()
        for region, table_name in tables:
            with suppress(Refusal):
                existing.add(_table_facts(self._connection, region, table_name, self._clock()).table_id)
        return existing

    async def _in_thread(self, call: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._lookups, call, *args)


def partition_count(item_count: int) -> int:
    """Four for a new table, as on AWS, and more as it grows: far earlier than there, to have many files to restore."""
    return min(max(4, item_count // 2_500), 16)


def _table_facts(connection: Connection, region: str, table_name: str, now_ms: int) -> TableFacts:
    return read_table_facts(connection.client("dynamodb", region), table_name, now_ms)


def _facts(request: ExportRequest, table: TableFacts, now_ms: int) -> ExportFacts:
    return ExportFacts(
        export_id=new_export_id(now_ms, secrets.token_bytes(4)),
        table_arn=request.table_arn,
        table_id=table.table_id,
        bucket=request.bucket,
        prefix=request.prefix,
        start_ms=now_ms,
        export_time_ms=now_ms if request.export_time_ms is None else request.export_time_ms,
        sse_algorithm=request.parameters.get("S3SseAlgorithm", "AES256"),
        sse_kms_key_id=request.parameters.get("S3SseKmsKeyId"),
    )


def _answer(status: int, content: Mapping[str, Any], *headers: tuple[bytes, bytes]) -> Answer:
    body = json.dumps(content).encode()
    return (
        status,
        [
            (b"content-type", b"application/x-amz-json-1.0"),
            (b"content-length", str(len(body)).encode()),
            (b"x-amzn-requestid", str(uuid.uuid4()).encode()),
            *headers,
        ],
        body,
    )


def _refused(refusal: Refusal) -> Answer:
    namespace = "com.amazonaws.dynamodb.v20120810"
    if refusal.code == "ValidationException":
        namespace = "com.amazon.coral.validate"
    content = {"__type": f"{namespace}#{refusal.code}", "message": refusal.message}
    return _answer(400, content, (b"x-amzn-errortype", refusal.code.encode()))
