"""The emulator's exports, made real: ExportTableToPointInTime, DescribeExport and ListExports as on AWS.

Every call goes to the emulator first, which checks permissions and required fields; its answer is then replaced
by ours. What is exported is read from the table's history before the call is answered, at one moment, so what is
written afterwards is never in it; the objects are written after it, in a thread of the export's own.

Not as on AWS: the latest time that can be exported is now, and not some minutes ago; a window's bounds are exact, and
no transaction is torn by them; and the objects are written by the emulator's root user, not with the caller's rights.
"""

import asyncio
import json
import logging
import secrets
import threading
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec

from sandbox.exports.administration import CLOCK_PATH, COURSES_PATH, Advance, NextExports
from sandbox.exports.capture import Capture, RecoveryOff
from sandbox.exports.clock import AdvancingClock
from sandbox.exports.course import Course, Courses, Steering
from sandbox.exports.history import ItemChange, Key
from sandbox.exports.incremental import LEAST_BILLED_BYTES
from sandbox.exports.layout import ExportFacts, Item, Window, change_line, new_export_id
from sandbox.exports.partitions import Partitions
from sandbox.exports.records import ExportRecord, ExportRecords, page_of
from sandbox.exports.requests import (
    ExportRequest,
    Increment,
    Limits,
    Refusal,
    TableFacts,
    check_times,
    read_export_request,
    recovery_is_off,
    window_end_ms,
)
from sandbox.exports.snapshot import Connection, ConnectionClosed, read_table_facts
from sandbox.exports.writer import WrittenExport, write_partitions

Answer = tuple[int, list[tuple[bytes, bytes]], bytes]
Forward = Callable[[bytes], Awaitable[Answer]]
Writer = Callable[..., WrittenExport]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Contents:
    """What an export is of, read at one moment: a full one's items, or an incremental one's changes."""

    start_ms: int
    items: Mapping[Key, Item]
    changes: Sequence[ItemChange]


class ExportOverlay:
    """Answers the export operations of one emulator at `endpoint_url`; lives on the server's event loop.

    `capture` has the tables' histories, by the same `clock`. `mute(bucket, key)` keeps S3 from telling of an object's
    arrival. `write` turns a table's partitions into objects, with the signature of `write_partitions`.
    """

    OPERATIONS = frozenset({"ExportTableToPointInTime", "DescribeExport", "ListExports"})
    PATHS = frozenset({CLOCK_PATH, COURSES_PATH})

    def __init__(
        self,
        endpoint_url: str,
        capture: Capture,
        *,
        clock: AdvancingClock,
        mute: Callable[[str, str], None],
        limits: Limits | None = None,
        write: Writer = write_partitions,
    ) -> None:
        self._endpoint_url = endpoint_url
        self._capture = capture
        self._clock = clock
        self._mute = mute
        self._limits = limits or Limits()
        self._write = write
        # Not the event loop's own pool: the emulator's Lambda functions hold its threads while they wait for us.
        self._lookups = ThreadPoolExecutor(4, thread_name_prefix="export-lookup")
        self._start_empty()

    def reset(self) -> None:
        """Forgets every export and history. Exports that run break off at their next call and write nothing more."""
        self._connection.close()
        self._capture.reset()
        self._clock.reset()
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

    def administer(self, path: str, body: bytes) -> Answer:
        """Answers a POST to one of PATHS, which `sandbox.exports.administration` tells of."""
        try:
            if path == CLOCK_PATH:
                self._clock.advance(msgspec.json.decode(body, type=Advance).advance_seconds)
            else:
                ordered = msgspec.json.decode(body, type=NextExports)
                self._courses.add(ordered.table_name, ordered.courses)
        except (msgspec.MsgspecError, ValueError) as error:
            return _answer(400, {"message": str(error)})
        return _answer(200, {"now_ms": self._clock()})

    def _start_empty(self) -> None:
        self._connection = Connection(self._endpoint_url)
        self._records = ExportRecords()
        self._courses = Courses()
        self._admission = asyncio.Lock()

    async def _export(self, body: Mapping[str, Any]) -> dict[str, Any]:
        request = read_export_request(body, new_token=str(uuid.uuid4()))
        async with self._admission:  # or two calls with one token would both find it unused
            record = self._records.repeated(request, self._clock()) or await self._start(request)
            return {"ExportDescription": record.description}

    async def _describe(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return {"ExportDescription": self._records.get(body["ExportArn"]).description}

    async def _list(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """As on AWS, a deleted table's exports are not listed, though each can still be described."""
        records = self._records.newest_first(body.get("TableArn"))
        alive = await self._in_thread(self._existing_table_ids, records)
        return page_of([record for record in records if record.facts.table_id in alive], body)

    async def _start(self, request: ExportRequest) -> ExportRecord:
        connection = self._connection
        table = await self._in_thread(_table_facts, connection, request.region, request.table_name)
        check_times(request, table, self._clock(), self._limits)
        if self._records.running >= self._limits.most_running:
            raise Refusal(
                "LimitExceededException", f"{self._limits.most_running} exports are running, the most at one time"
            )
        contents = await self._in_thread(self._read, request, table)
        record = ExportRecord(request, _facts(request, table, contents.start_ms))
        self._records.add(record)
        # A daemon: a stopping server must not wait for an export whose endpoint it is itself.
        course = self._courses.take(request.table_name)
        threading.Thread(
            target=self._run, args=(record, table, contents, connection, course), name="export", daemon=True
        ).start()
        return record

    def _read(self, request: ExportRequest, table: TableFacts) -> Contents:
        try:
            if request.increment is not None:
                return self._read_increment(request.increment, table)
            now_ms, items = self._capture.items(table.table_id, request.export_time_ms)
            return Contents(now_ms, items, ())
        except RecoveryOff:
            raise recovery_is_off(table.table_name) from None

    def _read_increment(self, increment: Increment, table: TableFacts) -> Contents:
        now_ms = self._clock()
        to_ms = window_end_ms(increment, now_ms)
        return Contents(now_ms, {}, self._capture.changes(table.table_id, increment.from_ms, to_ms))

    def _run(
        self, record: ExportRecord, table: TableFacts, contents: Contents, connection: Connection, course: Course
    ) -> None:
        facts = record.facts
        try:
            with Partitions(partition_count(table.item_count)) as partitions:
                _spool(contents, facts, table.key_names, partitions)
                written = self._write(
                    connection.client("s3", record.request.region),
                    facts,
                    partitions,
                    now_ms=self._clock,
                    billed_size_bytes=table.size_bytes if facts.window is None else LEAST_BILLED_BYTES,
                    before_object=self._steering(course, facts, len(partitions), connection),
                )
            record.complete(written)
        except ConnectionClosed:
            _log.info("export %s: broken off by a reset", facts.export_arn)
        except Exception as error:  # whatever it is, an export must end, or its caller waits for ever
            record.fail(error, self._clock())
            _log.warning("export %s: FAILED, %s", facts.export_arn, record.description["FailureCode"])

    def _steering(self, course: Course, facts: ExportFacts, data_files: int, connection: Connection) -> Steering:
        return Steering(
            course, data_files=data_files, pause=connection.wait, mute=lambda key: self._mute(facts.bucket, key)
        )

    def _existing_table_ids(self, records: Sequence[ExportRecord]) -> set[str]:
        tables = {(record.request.region, record.request.table_name) for record in records}
        existing = set()
        for region, table_name in tables:
            with suppress(Refusal):
                existing.add(_table_facts(self._connection, region, table_name).table_id)
        return existing

    async def _in_thread(self, call: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._lookups, call, *args)


def partition_count(item_count: int) -> int:
    """Four for a new table, as on AWS, and more as it grows: far earlier than there, to have many files to restore."""
    return min(max(4, item_count // 2_500), 16)


def _spool(contents: Contents, facts: ExportFacts, key_names: Sequence[str], partitions: Partitions) -> None:
    """In the order of the keys, so that the same items give the same bytes."""
    if facts.window is None:
        partitions.fill((contents.items[key] for key in sorted(contents.items)), key_names)
        return
    for item, line in _change_lines(contents.changes, key_names, facts.window.view):
        partitions.add(item, key_names, line)
    partitions.seal()


def _change_lines(changes: Iterable[ItemChange], key_names: Sequence[str], view: str) -> Iterable[tuple[Item, bytes]]:
    for old, new, written_at_us in changes:
        line = change_line(old=old, new=new, key_names=key_names, written_at_us=written_at_us, view=view)
        yield new or old or {}, line


def _table_facts(connection: Connection, region: str, table_name: str) -> TableFacts:
    return read_table_facts(connection.client("dynamodb", region), table_name)


def _facts(request: ExportRequest, table: TableFacts, now_ms: int) -> ExportFacts:
    window = None
    if request.increment is not None:
        increment = request.increment
        window = Window(increment.from_ms, window_end_ms(increment, now_ms), increment.view)
        now_ms = now_ms // 1000 * 1000  # AWS starts an incremental export at a whole second
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
        window=window,
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
