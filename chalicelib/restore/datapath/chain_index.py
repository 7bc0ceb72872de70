"""Which export of a chain has the last word on a key, so that each key is written once, as it was at the end.

A chain is a full export (link 0) and increments (links 1, 2, …). Where every line may not simply be written in turn,
because what stands in the target decides about it, only the last line of a key may be acted on. The index holds the
keys of the increments: those it does not hold only the full export has. What is held of a key are 14 bytes of its
digest, and its link.
"""

from collections.abc import Iterable, Sequence

from chalicelib.aws import Client
from chalicelib.restore.datapath.batches import Picked
from chalicelib.restore.datapath.data_file import DataFile
from chalicelib.restore.datapath.keys import DIGEST_BYTES, KeySchema, LineKeys
from chalicelib.restore.datapath.reader import DataFileReader
from chalicelib.restore.datapath.search import KeySearch
from chalicelib.restore.model import LineKind
from chalicelib.retry import Backoff

# About 37 MB of a worker's memory; more keys are taken in several turns, which each read all of the table's files.
MOST_KEYS_PER_TURN = 1_500_000
LAST_LINK = 255

_BUCKET_BYTES = 2  # of the digest; the rest is held
_HELD_BYTES = DIGEST_BYTES - _BUCKET_BYTES
_ENTRY_BYTES = _HELD_BYTES + 1


def turns_needed(record_count: int) -> int:
    """How many turns a chain takes whose increments have so many records."""
    return max(1, -(-record_count // MOST_KEYS_PER_TURN))


def turn_of(digest: bytes, turns: int) -> int:
    """The turn a key belongs to, by bytes that do not tell its bucket, so that every turn fills all of them."""
    return int.from_bytes(digest[-4:], "big") % turns


class ChainIndex:
    """The last link of every key of one turn. Each key takes about 25 bytes."""

    def __init__(self, turn: int = 0, turns: int = 1) -> None:
        self.turn = turn
        self.turns = turns
        self._buckets: list[bytearray | None] = [None] * 256**_BUCKET_BYTES
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, digest: bytes, link: int) -> None:
        """Notes that `link` (1 to 255) has the key; in any order of links. Keys of other turns are left out."""
        if self.turns > 1 and turn_of(digest, self.turns) != self.turn:
            return
        number = int.from_bytes(digest[:_BUCKET_BYTES], "big")
        bucket = self._buckets[number]
        if bucket is None:
            bucket = self._buckets[number] = bytearray()
        at = _find(bucket, digest)
        if at < 0:
            bucket += digest[_BUCKET_BYTES:] + bytes([link])
            self._count += 1
        elif link > bucket[at + _HELD_BYTES]:
            bucket[at + _HELD_BYTES] = link

    def last_link(self, digest: bytes) -> int:
        """The last link that has the key, of this turn; 0: at most the full export has it."""
        bucket = self._buckets[int.from_bytes(digest[:_BUCKET_BYTES], "big")]
        at = -1 if bucket is None else _find(bucket, digest)
        return 0 if bucket is None or at < 0 else bucket[at + _HELD_BYTES]


def _find(bucket: bytearray, digest: bytes) -> int:
    held = digest[_BUCKET_BYTES:]
    at = bucket.find(held)
    while at > 0 and at % _ENTRY_BYTES:  # across two entries
        at = bucket.find(held, at + 1)
    return at


def build_chain_index(
    s3: Client,
    bucket: str,
    increments: Iterable[tuple[int, DataFile]],
    schema: KeySchema,
    *,
    turn: int = 0,
    turns: int = 1,
    search: KeySearch | None = None,
    retry: Backoff,
) -> ChainIndex:
    """From all data files of all increments, each with its link, in any order; read to their ends and so verified.

    `search`: only of the keys it looks for, which all belong to one turn. Records without a readable key are left
    out. Raises what `DataFileReader` raises.
    """
    index = ChainIndex() if search is not None else ChainIndex(turn, turns)
    keys = LineKeys(schema, LineKind.RECORD)
    for link, file in increments:
        if not 0 < link <= LAST_LINK:
            raise ValueError(f"link {link} of a chain; an increment is 1 to {LAST_LINK}")
        reader = DataFileReader(s3, bucket, file, retry=retry)
        blocks: Iterable[Sequence[bytes]]
        blocks = reader.line_blocks() if search is None else (batch.lines for batch in reader.matches(search))
        for lines in blocks:
            for line in lines:
                digest = keys.digest(line)
                if digest is not None:
                    index.add(digest, link)
    return index


class ChainFilter:
    """A `LineFilter` for the data files of one link: wants the lines on whose keys no later link has a word.

    Lines of keys of another turn than the index's are `elsewhere`. A line without a readable key is wanted in the
    first turn, so that it is rejected once. With `search` only lines of the keys it looks for are wanted; they all,
    and the lines that are not, belong to the first turn: in others all is elsewhere.
    """

    def __init__(
        self,
        index: ChainIndex,
        schema: KeySchema,
        line_kind: LineKind,
        link: int,
        *,
        turn: int = 0,
        search: KeySearch | None = None,
    ) -> None:
        self._index = index
        self._keys = LineKeys(schema, line_kind)
        self._link = link
        self._turn = turn
        self._search = search

    def pick(self, lines: Sequence[bytes]) -> Picked:
        if self._search is None:
            return self._pick_of_all(lines)
        if self._turn:
            return Picked((), range(len(lines)))
        return Picked([index for index in self._search.pick(lines).wanted if self._is_last_word(lines[index])])

    def _pick_of_all(self, lines: Sequence[bytes]) -> Picked:
        wanted: list[int] = []
        elsewhere: list[int] = []
        turn, turns, link = self._index.turn, self._index.turns, self._link
        last_link = self._index.last_link
        for index, line in enumerate(lines):
            digest = self._keys.digest(line)
            if digest is None:
                (elsewhere if turn else wanted).append(index)
            elif turns > 1 and turn_of(digest, turns) != turn:
                elsewhere.append(index)
            elif last_link(digest) <= link:
                wanted.append(index)
        return Picked(wanted, elsewhere)

    def _is_last_word(self, line: bytes) -> bool:
        digest = self._keys.digest(line)
        return digest is not None and self._index.last_link(digest) <= self._link
