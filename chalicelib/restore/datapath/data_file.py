"""A data file of an export, or a slice of one, as it was checked."""

import msgspec

from chalicelib.errors import DataFileDamaged


class DataFile(msgspec.Struct, frozen=True):
    """`etag` without quotes, `md5` base64, of the compressed object; `item_count` the whole object's.

    A slice is the lines from `first_line` to before `end_line` (None: to the end), counted from 0.
    """

    key: str
    etag: str
    size_bytes: int
    md5: str
    item_count: int
    first_line: int = 0
    end_line: int | None = None

    @property
    def end(self) -> int:
        """The line before which reading ends."""
        return self.item_count if self.end_line is None else min(self.end_line, self.item_count)

    @property
    def is_read_to_the_end(self) -> bool:
        """Whether reading it reads the object's last byte, so that MD5, CRC and line count are checked."""
        return self.end == self.item_count

    def damaged(self, reason: str) -> DataFileDamaged:
        return DataFileDamaged(self.key, reason)
