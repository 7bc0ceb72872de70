"""The emulator with its export engine in a thread of the test's process, and the calls the tests make to it."""

import asyncio
import base64
import gzip
import json
import socket
import threading
import time
from typing import Any

import boto3

from chalicelib.backup.export_files import md5_of, parse_summary, read_file_list, verify_checksum
from chalicelib.restore.datapath.record_line import record_of
from sandbox.exports.clock import AdvancingClock
from sandbox.exports.requests import Limits
from sandbox.exports.writer import WrittenExport, write_partitions

DEADLINE_S = 20
_SESSION = boto3.session.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1")


class HoldableWriter:
    """Writes as the sandbox does; while `free` is cleared, exports stay IN_PROGRESS."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.free.set()

    def __call__(self, *args: Any, **options: Any) -> WrittenExport:
        assert self.free.wait(DEADLINE_S)
        return write_partitions(*args, **options)


class Emulator:
    """ministack behind the sandbox's layer, in a thread of this process."""

    def __init__(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.writer = HoldableWriter()
        self.clock = AdvancingClock()
        self.limits = Limits(most_running=20)
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(listener)), daemon=True)
        self._thread.start()
        assert self._started.wait(DEADLINE_S)

    async def _serve(self, listener: socket.socket) -> None:
        from hypercorn.asyncio import serve
        from hypercorn.config import Config
        from ministack.app import app

        from sandbox.emulator import exports
        from sandbox.emulator.layer import Layer

        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        config = Config()
        config.bind = [f"fd://{listener.detach()}"]
        config.graceful_timeout = 0.2
        self.overlay: Any = exports.install(
            self.endpoint_url,
            clock=self.clock,
            write=self.writer,
            limits=self.limits,
        )
        self._loop.call_soon(self._started.set)
        layer: Any = Layer(app, self.overlay)
        await serve(layer, config, shutdown_trigger=self._stop.wait)

    def client(self, service: str, **options: Any) -> Any:
        return _SESSION.client(service, endpoint_url=self.endpoint_url, **options)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()


def start_export(dynamodb: Any, table_arn: str, **options: Any) -> dict[str, Any]:
    arguments = {"TableArn": table_arn, "S3Bucket": "backups", **options}
    description: dict[str, Any] = dynamodb.export_table_to_point_in_time(**arguments)["ExportDescription"]
    return description


def until_ended(dynamodb: Any, export_arn: str) -> dict[str, Any]:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        description: dict[str, Any] = dynamodb.describe_export(ExportArn=export_arn)["ExportDescription"]
        if description["ExportStatus"] != "IN_PROGRESS":
            return description
    raise AssertionError("the export did not end")


def exported_items(s3: Any, description: dict[str, Any]) -> list[Any]:
    files_key = json.loads(read_object(s3, description["ExportManifest"]))["manifestFilesS3Key"]
    items = []
    for entry in map(json.loads, read_object(s3, files_key).split(b"\n")[:-1]):
        assert s3.head_object(Bucket="backups", Key=entry["dataFileS3Key"])["ETag"] == f'"{entry["etag"]}"'
        lines = gzip.decompress(read_object(s3, entry["dataFileS3Key"])).split(b"\n")[:-1]
        items += [json.loads(line)["Item"] for line in lines]
    return items


def as_base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def read_object(s3: Any, key: str) -> bytes:
    content: bytes = s3.get_object(Bucket="backups", Key=key)["Body"].read()
    return content


def exported_changes(s3: Any, description: dict[str, Any]) -> list[dict[str, Any]]:
    """An incremental export's records, after everything that tablevault checks of one: summary, checksums, where the
    data files lie, their counts and MD5s, and that each line is unmistakably a record."""
    summary_key = description["ExportManifest"]
    summary = parse_summary(_checked(s3, summary_key), key=summary_key)
    files_key = summary.manifest_files_s3_key
    md5 = read_object(s3, files_key.replace(".json", ".md5")).decode()
    entries = list(read_file_list([read_object(s3, files_key)], key=files_key, md5=md5, is_incremental=True))
    lines = []
    for entry in entries:
        content = read_object(s3, entry.key)
        assert md5_of(content) == entry.md5
        in_file = gzip.decompress(content).splitlines(keepends=True)
        assert len(in_file) == entry.item_count
        lines += in_file
    assert len(lines) == summary.item_count == description["ItemCount"]
    assert all(record_of(line) for line in lines)
    return [json.loads(line) for line in lines]


def _checked(s3: Any, key: str) -> bytes:
    content = read_object(s3, key)
    verify_checksum(key, content, read_object(s3, key.replace(".json", ".md5")))
    return content
