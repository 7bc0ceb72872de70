"""items/s and CPU of a restore, against what else writes items into a table.

measuring       the contenders, in turn, and what comes of it
restore         the real worker; contender, with_dynamodump: the others; each is a process of its own
dump            what dynamodump needs
"""

from benchmarks.write_path.measuring import measure

__all__ = ["measure"]
