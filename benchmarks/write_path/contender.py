"""`python -m benchmarks.write_path.contender <name> <url> <threads> <items> <file>...`: the scripts that people write,
with boto3 and its defaults, against the stand-in. Each reads the data files from disk, which is in their favour.

Only with `binaries` decoded do they write what the backup holds: boto3 encodes B itself, and base64 text that is
handed to it is encoded a second time.
"""

import base64
import gzip
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import boto3
from boto3.dynamodb.types import TypeDeserializer

from benchmarks.aws import REGION
from benchmarks.sets import TABLE

_BATCH = 25
Item = dict[str, Any]
Write = Callable[[Iterator[Item]], None]


def items_of(path: Path, most: int) -> Iterator[Item]:
    """The first items of a data file, binaries decoded."""
    with gzip.open(path) as file:
        for line in islice(file, most):
            item: Item = json.loads(line)["Item"]
            yield {name: _decoded(value) for name, value in item.items()}


def _decoded(value: Item) -> Item:
    ((kind, content),) = value.items()
    if kind == "B":
        return {"B": base64.b64decode(content)}
    if kind == "BS":
        return {"BS": [base64.b64decode(each) for each in content]}
    if kind == "M":
        return {"M": {name: _decoded(each) for name, each in content.items()}}
    if kind == "L":
        return {"L": [_decoded(each) for each in content]}
    return value


def batch_writer(url: str) -> Write:
    """(a) boto3's Table.batch_writer, after a TypeDeserializer."""
    table = boto3.session.Session().resource("dynamodb", endpoint_url=url, region_name=REGION).Table(TABLE)
    deserialize = TypeDeserializer().deserialize

    def write(items: Iterator[Item]) -> None:
        with table.batch_writer() as batch:
            for item in items:
                batch.put_item(Item={name: deserialize(value) for name, value in item.items()})

    return write


def batch_write_item(url: str) -> Write:
    """(b) client.batch_write_item of what json.loads gives."""
    client = boto3.client("dynamodb", endpoint_url=url, region_name=REGION)

    def write(items: Iterator[Item]) -> None:
        while batch := [{"PutRequest": {"Item": item}} for item in islice(items, _BATCH)]:
            pending = {TABLE: batch}
            while pending:
                pending = client.batch_write_item(RequestItems=pending)["UnprocessedItems"]

    return write


def put_item(url: str) -> Write:
    """(d) client.put_item, one request per item."""
    client = boto3.client("dynamodb", endpoint_url=url, region_name=REGION)

    def write(items: Iterator[Item]) -> None:
        for item in items:
            client.put_item(TableName=TABLE, Item=item)

    return write


CONTENDERS = {"batch_writer": batch_writer, "batch_write_item": batch_write_item, "put_item": put_item}


def run(name: str, url: str, threads: int, items: int, files: Sequence[Path]) -> dict[str, float]:
    """Each thread has a client of its own and its share of the data files, and takes as many items from each file.
    Making the clients is not timed."""
    writes = [CONTENDERS[name](url) for _ in range(threads)]
    per_file = items // len(files)

    def work(number: int) -> None:
        for file in files[number::threads]:
            writes[number](items_of(file, per_file))

    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    if threads == 1:
        work(0)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, range(threads)))
    wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    return {"items": per_file * len(files), "wall_s": wall_s, "cpu_s": cpu_s}


if __name__ == "__main__":
    _, name, url, threads, items, *files = sys.argv
    sys.stdout.write(json.dumps(run(name, url, int(threads), int(items), [Path(file) for file in files])))
