"""Which ETags prove an object's MD5, and what a reader does with that."""

import base64
import gzip
import hashlib

import pytest
from msgspec.structs import replace

from chalicelib.errors import DataFileDamaged
from chalicelib.restore.datapath.reader import DataFile, verify_data_file
from tests.faults import FakeTime
from tests.unit.test_reader import OneObject, backoff, file_of, lines_of, reader_of

DATA = gzip.compress(b'{"Item":{"pk":{"S":"a"}}}\n', mtime=0)
DIGEST = hashlib.md5(DATA).digest()
ONE_PART, ONE_PUT = hashlib.md5(DIGEST).hexdigest() + "-1", DIGEST.hex()
OTHER_CONTENT = gzip.compress(b'{"Item":{"pk":{"S":"b"}}}\n', mtime=0)
assert len(OTHER_CONTENT) == len(DATA)


def file_with(etag: str, **changes) -> DataFile:
    return replace(file_of(DATA, 1), etag=etag, **changes)


@pytest.mark.parametrize("etag", [ONE_PART, ONE_PUT])
def test_an_etag_that_s3_computed_of_the_content_proves_it(etag):
    assert file_with(etag).is_proven_by_etag


@pytest.mark.parametrize(
    ("etag", "md5"),
    [
        (ONE_PART.replace("-1", "-2"), None),
        (ONE_PART.removesuffix("-1"), None),
        (ONE_PUT + "-1", None),
        (hashlib.md5(b"a key of KMS").hexdigest(), None),
        ("", None),
        (ONE_PUT, base64.b64encode(hashlib.md5(OTHER_CONTENT).digest()).decode()),
        (hashlib.md5(b"").hexdigest() + "-1", "not base64!"),
    ],
)
def test_any_other_etag_says_nothing(etag, md5):
    assert not file_with(etag, **({"md5": md5} if md5 else {})).is_proven_by_etag


@pytest.mark.parametrize("etag", [ONE_PART, ONE_PUT])
def test_content_that_its_etag_proves_is_not_hashed_again(etag):
    """Only an S3 that breaks its word can show it: no one else gives other bytes under the same ETag."""
    reader = reader_of(OneObject(OTHER_CONTENT, etag), file_with(etag))
    assert lines_of(list(reader.batches())) == [b'{"Item":{"pk":{"S":"b"}}}']


def test_content_that_no_etag_proves_is_hashed():
    with pytest.raises(DataFileDamaged, match="MD5"):
        list(reader_of(OneObject(OTHER_CONTENT, "kms"), file_with("kms")).batches())


@pytest.mark.parametrize("etag", [ONE_PART, ONE_PUT, "kms"])
def test_who_verifies_hashes_in_any_case(etag):
    found = verify_data_file(OneObject(OTHER_CONTENT, etag), "bucket", file_with(etag), retry=backoff(FakeTime()))
    assert found.damage == "its MD5 is not the manifest's"
