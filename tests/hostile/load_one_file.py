"""`python -m tests.hostile.load_one_file <megabytes>`: reads and writes one data file of about that size, as a worker
does, and prints the peak of its memory in bytes. Neither end of it holds the file: S3's part repeats one gzip member,
DynamoDB's is a hook that answers."""

import base64
import gzip
import hashlib
import json
import random
import re
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
from botocore.awsrequest import AWSResponse
from botocore.config import Config

from chalicelib.restore.datapath.reader import DataFile, DataFileReader
from chalicelib.restore.datapath.transfer import transfer
from chalicelib.restore.datapath.writer import BatchWriter
from chalicelib.retry import Backoff

LINES_PER_MEMBER = 1_000
TEXT_BYTES = 2_000


class Repeating:
    """A stream of one block, over and over."""

    def __init__(self, block: bytes, size_bytes: int) -> None:
        self._block = block
        self._at = 0
        self._left = size_bytes

    def read(self, amount: int) -> bytes:
        given = self._block[self._at : self._at + min(amount, self._left)]
        self._at = (self._at + len(given)) % len(self._block)
        self._left -= len(given)
        return given

    def close(self) -> None:
        """Nothing is open."""


class Written:
    def stream(self, **_: Any) -> Any:
        yield b'{"UnprocessedItems":{}}'


def load(megabytes: int) -> int:
    """The number of items written."""
    noise = random.Random(5)
    lines = [
        json.dumps({"Item": {"pk": {"S": f"k{each}"}, "t": {"S": noise.randbytes(TEXT_BYTES // 2).hex()}}}).encode()
        for each in range(LINES_PER_MEMBER)
    ]
    text = b"".join(line + b"\n" for line in lines)
    member = gzip.compress(text, 1, mtime=0)
    members = max(1, megabytes * 1_000_000 // len(text))
    digest = hashlib.md5()
    for _ in range(members):
        digest.update(member)
    size_bytes, item_count = members * len(member), members * LINES_PER_MEMBER
    file = DataFile("k", "e", size_bytes, base64.b64encode(digest.digest()).decode(), item_count)

    class S3:
        def get_object(self, **_: Any) -> dict[str, Any]:
            return {"Body": Repeating(member, size_bytes), "ContentLength": size_bytes}

    dynamodb = boto3.client(
        "dynamodb", region_name="eu-west-1", aws_access_key_id="a", aws_secret_access_key="b", config=Config(proxies={})
    )
    dynamodb.meta.events.register(
        "before-send.dynamodb.BatchWriteItem", lambda request, **_: AWSResponse(request.url, 200, {}, Written())
    )
    now_ms = time.time_ns() // 1_000_000
    retry = Backoff(lambda: now_ms, time.sleep, random.random, now_ms + 600_000)
    reader = DataFileReader(S3(), "bucket", file, retry=retry)
    writer = BatchWriter(
        dynamodb, "orders", clock=lambda: now_ms, sleep=time.sleep, random=random.random, deadline_ms=now_ms + 600_000
    )
    written = [0]

    def count(index: int, batch: Any, result: Any) -> None:
        written[0] += result.counts.written

    with closing(writer):
        assert transfer([(0, reader.batches())], writer, stop=lambda: False, on_result=count)
    assert written[0] == item_count
    return item_count


def peak_bytes() -> int:
    """Of this process since its start; not ru_maxrss, which begins at its parent's."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024


if __name__ == "__main__":
    items = load(int(sys.argv[1]))
    sys.stdout.write(json.dumps({"items": items, "peak_bytes": peak_bytes()}))
