"""The C stand-in against the clients that use it: what it counts, serves and refuses."""

import http.client
import socket
from pathlib import Path
from shutil import which

import boto3
import pytest
from botocore.exceptions import ClientError

from benchmarks.sets import BUCKET, TABLE, SetSpec, prepared
from benchmarks.stand_in import stand_in

pytestmark = pytest.mark.skipif(which("cc") is None, reason="the stand-in is written in C, and there is no compiler")
ITEM = {"id": {"S": "a"}, "raw": {"B": b"\x00\xff"}}


@pytest.fixture(scope="module")
def backup():
    return prepared(SetSpec(items=100, line_bytes=500, files=4))


@pytest.fixture
def server(backup):
    with stand_in(backup.root) as started:
        yield started


def client_of(service, server):
    return boto3.client(
        service,
        region_name="eu-west-1",
        endpoint_url=server.url,
        aws_access_key_id="a",
        aws_secret_access_key="b",
        config=boto3.session.Config(s3={"addressing_style": "path"}, proxies={}, retries={"total_max_attempts": 1}),
    )


def test_every_put_and_delete_of_a_batch_is_counted(server):
    writes = [{"PutRequest": {"Item": ITEM}}] * 3 + [{"DeleteRequest": {"Key": {"id": {"S": "b"}}}}]
    answer = client_of("dynamodb", server).batch_write_item(RequestItems={TABLE: writes})
    assert answer["UnprocessedItems"] == {}
    assert {name: server.counts()[name] for name in ("requests", "items", "deletes")} == {
        "requests": 1,
        "items": 3,
        "deletes": 1,
    }


def test_consumed_capacity_is_named_when_it_is_asked_for(server):
    answer = client_of("dynamodb", server).batch_write_item(
        RequestItems={TABLE: [{"PutRequest": {"Item": ITEM}}] * 25}, ReturnConsumedCapacity="TOTAL"
    )
    assert answer["ConsumedCapacity"] == [{"TableName": TABLE, "CapacityUnits": 25.0}]


def test_more_than_25_writes_are_refused(server):
    with pytest.raises(ClientError, match="ValidationException"):
        client_of("dynamodb", server).batch_write_item(RequestItems={TABLE: [{"PutRequest": {"Item": ITEM}}] * 26})
    assert server.counts()["items"] == 0


def test_an_object_comes_whole_or_from_an_offset_on_and_only_with_its_etag(server, backup):
    path = backup.data_files()[0]
    etag = Path(f"{path}.etag").read_text()
    s3 = client_of("s3", server)
    place = {"Bucket": BUCKET, "Key": str(path.relative_to(backup.bucket))}
    whole = s3.get_object(**place, IfMatch=f'"{etag}"')
    assert (whole["Body"].read(), whole["ETag"]) == (path.read_bytes(), f'"{etag}"')
    part = s3.get_object(**place, Range="bytes=7-")
    assert part["Body"].read() == path.read_bytes()[7:]
    assert part["ContentRange"] == f"bytes 7-{path.stat().st_size - 1}/{path.stat().st_size}"
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.get_object(**place, IfMatch='"another"')
    with pytest.raises(ClientError, match="NoSuchKey"):
        s3.get_object(Bucket=BUCKET, Key="missing")


@pytest.mark.parametrize(
    "head",
    ["POST / HTTP/1.1\r\n\r\n", "POST / HTTP/1.1\r\nContent-Length: many\r\n\r\n", "BREW / HTTP/1.1\r\n\r\n"],
    ids=["no length", "no number", "no method"],
)
def test_a_request_that_is_not_framed_ends_its_connection(server, head):
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head.encode())
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")


def test_a_body_in_pieces_is_put_together_and_the_connection_kept(server):
    body = b'{"RequestItems":{"orders":[' + b",".join([b'{"PutRequest":{}}'] * 20) + b"]}}"
    head = (
        f"POST / HTTP/1.1\r\nX-Amz-Target: DynamoDB_20120810.BatchWriteItem\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.connect()
    for _ in range(2):
        for piece in (head[:20], head[20:] + body[:5], body[5:]):
            connection.sock.sendall(piece)
        answer = http.client.HTTPResponse(connection.sock, method="POST")
        answer.begin()
        assert answer.read() == b'{"UnprocessedItems":{}}'
    connection.close()
    assert server.counts()["items"] == 40
