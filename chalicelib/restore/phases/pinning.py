"""The data files of one export: what its file list says of them, pinned to what the bucket holds.

The listing is read, not a HEAD per file: it gives every object's size and current ETag in one request per thousand.
Both are read as streams. Of each data file about 200 bytes are kept, since the two come in different orders: 100,000
files take some 20 MB.
"""

import base64
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from chalicelib.backup import layout
from chalicelib.backup.export_files import MOST_DATA_FILES, FileEntry
from chalicelib.errors import ExportInvalid
from chalicelib.restore.model import PlannedFile

# Objects beside a full export's data files, which AWS never puts there: a listing without end must not hold a worker.
# Beside those of an incremental one stand the data files of the others of its prefix.
_MOST_STRANGERS = 10_000
_MOST_OTHERS = MOST_DATA_FILES
# Deflate makes at most 1,032 bytes of one (https://zlib.net/zlib_tech.html); `{"Item":{"k":{"S":"v"}}}` is the
# shortest line. A file list that says more items would have a worker read lines that nobody wrote, for hours.
_MOST_INFLATED = 1_032
_SHORTEST_LINE_BYTES = 25
_ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE"})
# No object's ETag is longer. A file list may say what it likes: it is compared, and not kept.
_LONGEST_ETAG = 128
_LISTED = struct.Struct(">QQ16s?")  # size, items, MD5, and whether the content has to be checked; the ETag follows
_NOT_LISTED = 2**64 - 1  # no object has this size

Page = Mapping[str, Any]


class PinnedFiles:
    """An export's data files by name. To be filled in this order: all entries of the file list, then the listing."""

    def __init__(self, files_key: str, *, is_incremental: bool) -> None:
        self.folder = layout.data_folder(files_key, is_incremental=is_incremental)
        self._most_strangers = _MOST_OTHERS if is_incremental else _MOST_STRANGERS
        self._packed_by_name: dict[str, bytes] = {}
        self._missing = 0
        self.item_count = 0
        self.size_bytes = 0
        self.archives: dict[str, int] = {}

    def __len__(self) -> int:
        """How many are in the bucket."""
        return len(self._packed_by_name) - self._missing

    @property
    def entry_count(self) -> int:
        """With those that are not in the bucket."""
        return len(self._packed_by_name)

    def __iter__(self) -> Iterator[PlannedFile]:
        """The files that are in the bucket, whole, in the order of the file list."""
        for name, packed in self._packed_by_name.items():
            if _size_of(packed) != _NOT_LISTED:
                yield self._planned(name, packed)

    def __getitem__(self, name: str) -> PlannedFile:
        return self._planned(name, self._packed_by_name[name])

    def name_of(self, file: PlannedFile) -> str:
        return file.key.removeprefix(self.folder)

    def take_entries(self, entries: Iterable[FileEntry]) -> None:
        """Raises what reading the entries raises."""
        for entry in entries:
            etag = entry.etag if len(entry.etag) <= _LONGEST_ETAG else ""
            packed = _LISTED.pack(_NOT_LISTED, entry.item_count, base64.b64decode(entry.md5), True) + etag.encode(
                errors="replace"
            )
            self._packed_by_name[entry.key.removeprefix(self.folder)] = packed
            self.item_count += entry.item_count
        self._missing = len(self._packed_by_name)

    def take_listing(self, pages: Iterable[Page], *, on_page: Callable[[], None]) -> None:
        """`pages` of ListObjectsV2 with `OptionalObjectAttributes=["RestoreStatus"]`; `on_page` is called for each of
        them, and may raise.

        Raises ExportInvalid where the folder is full of other objects, or a data file cannot hold its items.
        """
        strangers = 0
        for page in pages:
            on_page()
            for listed in page.get("Contents", []):
                name = listed["Key"].removeprefix(self.folder)
                packed = self._packed_by_name.get(name)
                if packed is None:
                    strangers += 1
                elif _size_of(packed) == _NOT_LISTED:
                    self._pin(name, packed, listed)
            if strangers > self._most_strangers:
                raise ExportInvalid(
                    f"{self.folder} holds more than {self._most_strangers} objects that its export did not write"
                )

    def missing_keys(self) -> Iterator[str]:
        """Those of the file list that the bucket does not have."""
        for name, packed in self._packed_by_name.items():
            if _size_of(packed) == _NOT_LISTED:
                yield self.folder + name

    def _pin(self, name: str, packed: bytes, listed: Mapping[str, Any]) -> None:
        _, item_count, md5, _ = _LISTED.unpack_from(packed)
        etag, size_bytes = listed["ETag"].strip('"').encode(), int(listed["Size"])
        if item_count * _SHORTEST_LINE_BYTES > size_bytes * _MOST_INFLATED:
            key = self.folder + name
            raise ExportInvalid(f"data file {key} cannot hold {item_count} items in {size_bytes} bytes")
        is_another = etag != packed[_LISTED.size :]
        self._packed_by_name[name] = _LISTED.pack(size_bytes, item_count, md5, is_another) + etag
        self._missing -= 1
        self.size_bytes += size_bytes
        archive = _archive(listed)
        if archive is not None:
            self.archives[archive] = self.archives.get(archive, 0) + 1

    def _planned(self, name: str, packed: bytes) -> PlannedFile:
        size_bytes, item_count, md5, content_check = _LISTED.unpack_from(packed)
        etag = packed[_LISTED.size :].decode()
        return PlannedFile(
            self.folder + name, etag, size_bytes, base64.b64encode(md5).decode(), item_count, content_check
        )


def _size_of(packed: bytes) -> int:
    return int.from_bytes(packed[:8])


def _archive(listed: Mapping[str, Any]) -> str | None:
    """The storage class an object cannot be read from right now, if any."""
    storage_class = str(listed.get("StorageClass", "STANDARD"))
    is_thawed = "RestoreExpiryDate" in listed.get("RestoreStatus", {})
    return storage_class if storage_class in _ARCHIVES and not is_thawed else None
