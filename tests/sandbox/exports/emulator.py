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
        self.late_ms = 0  # how far the overlay's clock is ahead
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(listener)), daemon=True)
        self._thread.start()
        assert self._started.wait(DEADLINE_S)

    async def _serve(self, listener: socket.socket) -> None:
        from hypercorn.asyncio import serve
        from hypercorn.config import Config
        from ministack.app import app

        from sandbox.emulator.layer import Layer
        from sandbox.exports.engine import ExportOverlay

        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        config = Config()
        config.bind = [f"fd://{listener.detach()}"]
        config.graceful_timeout = 0.2
        overlay: Any = ExportOverlay(
            self.endpoint_url, clock=lambda: time.time_ns() // 1_000_000 + self.late_ms, write=self.writer
        )
        self.overlay = overlay
        self._loop.call_soon(self._started.set)
        layer: Any = Layer(app, overlay)
        await serve(layer, config, shutdown_trigger=self._stop.wait)

    def client(self, service: str) -> Any:
        return _SESSION.client(service, endpoint_url=self.endpoint_url)

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
    def read(key: str) -> bytes:
        content: bytes = s3.get_object(Bucket="backups", Key=key)["Body"].read()
        return content

    files_key = json.loads(read(description["ExportManifest"]))["manifestFilesS3Key"]
    items = []
    for entry in map(json.loads, read(files_key).split(b"\n")[:-1]):
        assert s3.head_object(Bucket="backups", Key=entry["dataFileS3Key"])["ETag"] == f'"{entry["etag"]}"'
        lines = gzip.decompress(read(entry["dataFileS3Key"])).split(b"\n")[:-1]
        items += [json.loads(line)["Item"] for line in lines]
    return items


def as_base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
