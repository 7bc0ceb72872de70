"""Whether an export's files agree: real exports pass, and whatever is missing, changed or of another kind is said."""

from pathlib import Path

import pytest

from chalicelib.backup.export_files import md5_of
from chalicelib.backup.verification import verify_export
from chalicelib.errors import ExportInvalid, ExportNotReadable
from sandbox.exports.writer import write_export
from tests.functional.backup.world import BUCKET, START_MS, client

SAMPLES = Path(__file__).parents[4] / "shared" / "export-samples" / "bucket"
TABLE_ARN = "arn:aws:dynamodb:us-east-1:123456789012:table/orders"
DEFINITION_KEY = "native-exports/2026-11-21/orders/table.json"
ITEMS = [{"id": {"S": str(number)}} for number in range(5)]


class Written:
    """An export in the bucket, and its objects to spoil."""

    def __init__(self, checksum_suffix: str = ".md5") -> None:
        self.s3 = client("s3")
        self.s3.create_bucket(Bucket=BUCKET)
        self.s3.put_object(Bucket=BUCKET, Key=DEFINITION_KEY, Body=b"{}")
        self.export = write_export(
            self.s3,
            bucket=BUCKET,
            prefix=DEFINITION_KEY.removesuffix("/table.json"),
            table_arn=TABLE_ARN,
            items=ITEMS,
            key_names=["id"],
            partitions=2,
            now_ms=lambda: START_MS,
            checksum_suffix=checksum_suffix,
        )
        self.data_key = self.export.files[0].key

    def key(self, name: str) -> str:
        return self.export.summary_key.replace("manifest-summary.json", name)

    def verify(self, **changes):
        return verify_export(
            self.s3,
            BUCKET,
            **{
                "summary_key": self.export.summary_key,
                "definition_key": DEFINITION_KEY,
                "export_arn": self.export.export_arn,
                "table_arn": TABLE_ARN,
                **changes,
            },
        )

    def delete(self, key: str) -> None:
        self.s3.delete_object(Bucket=BUCKET, Key=key)

    def put(self, key: str, body: bytes) -> None:
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=body)

    def change(self, name: str, old: bytes, new: bytes, *, and_checksum: bool) -> None:
        content = self.s3.get_object(Bucket=BUCKET, Key=self.key(name))["Body"].read()
        assert old in content
        changed = content.replace(old, new)
        self.put(self.key(name), changed)
        if and_checksum:
            self.put(self.key(name.replace(".json", ".md5")), md5_of(changed).encode() + b"\n")


@pytest.fixture
def written(aws) -> Written:
    return Written()


@pytest.mark.parametrize("suffix", [".md5", ".checksum"])
def test_an_intact_export_is_verified_under_both_names_of_checksums(aws, suffix):
    verified = Written(suffix).verify()
    assert (verified.item_count, verified.data_files) == (5, 2)
    assert verified.export_time == "2026-11-21T01:00:20.000Z"
    assert verified.files_key.endswith("/manifest-files.json")
    assert len(verified.files_md5) == 24


@pytest.mark.parametrize(
    "name",
    [
        "manifest-summary.json",
        "manifest-summary.md5",
        "manifest-files.json",
        "manifest-files.md5",
        "data",
        "table.json",
    ],
)
def test_a_missing_object_is_not_readable_yet_and_named(written, name):
    key = {"data": written.data_key, "table.json": DEFINITION_KEY}.get(name, written.key(name))
    written.delete(key)
    with pytest.raises(ExportNotReadable) as raised:
        written.verify()
    assert key in raised.value.message


@pytest.mark.parametrize(
    ("name", "old", "new", "and_checksum", "said"),
    [
        ("manifest-summary.json", b'"itemCount":5', b'"itemCount":6', False, "does not match its checksum"),
        ("manifest-summary.json", b'"itemCount":5', b'"itemCount":6', True, "counts 6 items, its file list 5"),
        ("manifest-files.json", b'"itemCount":', b'"itemCount":1', False, "damaged or was changed"),
        ("manifest-files.json", b"/data/", b"/../data/", True, "outside of"),
        ("manifest-files.json", b"md5Checksum", b"md5", True, "is no data file's record"),
        ("manifest-summary.json", b"DYNAMODB_JSON", b"ION", True, "takes DYNAMODB_JSON"),
        ("manifest-summary.json", b"/export/", b"/exports/", True, "of another export"),
        ("manifest-summary.json", b"table/orders", b"table/others", True, "of another export or table"),
        ("manifest-summary.json", b"/manifest-files.json", b"/other-files.json", True, "not its own"),
        ("manifest-summary.json", b'"exportTime":"2026', b'"exportTime":"20x6', True, "no valid export time"),
        (
            "manifest-summary.json",
            b'"outputF',
            b'"exportType":"INCREMENTAL_EXPORT","outputF',
            True,
            "asked for was a FULL_EXPORT",
        ),
        ("manifest-summary.json", b"{", b"[", True, "is not an export's summary"),
        ("manifest-summary.md5", b"=", b"", False, "does not match its checksum"),
        ("manifest-files.md5", b"=", b"", False, "damaged or was changed"),
    ],
)
def test_files_that_contradict_each_other_are_invalid(written, name, old, new, and_checksum, said):
    written.change(name, old, new, and_checksum=and_checksum)
    with pytest.raises(ExportInvalid, match=said) as raised:
        written.verify()
    assert not isinstance(raised.value, ExportNotReadable)


def test_a_data_file_that_is_no_gzip_file_is_invalid(written):
    written.put(written.data_key, b"")
    with pytest.raises(ExportInvalid, match="no gzip file"):
        written.verify()


def test_a_data_file_with_another_etag_passes_as_restores_compare_its_content(written):
    content = written.s3.get_object(Bucket=BUCKET, Key=written.data_key)["Body"].read()
    written.put(written.data_key, content)  # not in one part as AWS does it, so with another ETag: a copied bucket
    assert written.verify().item_count == 5


def test_an_enormous_summary_is_not_read(written):
    written.put(written.key("manifest-summary.json"), b" " * (1024 * 1024 + 1))
    with pytest.raises(ExportInvalid, match="far more"):
        written.verify()


@pytest.mark.parametrize("name", ["manifest-summary.md5", "manifest-files.md5"])
def test_an_enormous_checksum_is_not_read(written, name):
    written.put(written.key(name), b"A" * 1_048_577)
    with pytest.raises(ExportInvalid, match="far more than"):
        written.verify()


def test_a_folder_of_more_objects_than_can_be_looked_through_is_invalid(written, monkeypatch):
    monkeypatch.setattr("chalicelib.backup.verification._MOST_OBJECTS", 5)
    with pytest.raises(ExportInvalid, match="holds more than 5 objects"):
        written.verify()


def test_a_file_list_that_leaves_the_folder_is_invalid(written):
    written.change("manifest-files.json", b"/data/", b"/data/../", and_checksum=True)
    with pytest.raises(ExportInvalid, match="outside of"):
        written.verify()


@pytest.mark.skipif(not SAMPLES.exists(), reason="the real exports are not on this machine")
def test_a_real_export_is_verified(written):
    for path in (SAMPLES / "real-1").rglob("*"):
        if path.is_file():
            written.put(str(path.relative_to(SAMPLES / "real-1")), path.read_bytes())
    (summary,) = (SAMPLES / "real-1").rglob("manifest-summary.json")
    arn = summary.read_text().split('"exportArn":"')[1].split('"')[0]
    verified = written.verify(
        summary_key=str(summary.relative_to(SAMPLES / "real-1")), export_arn=arn, table_arn=arn.split("/export/")[0]
    )
    assert (verified.item_count, verified.data_files) == (3, 4)
    assert verified.export_time == "2020-11-11T21:33:51.000Z"
