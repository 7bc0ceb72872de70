"""`python -m benchmarks.write_path.restore <url> <folder> <items>`: a whole restore by one worker, into the stand-in.

Everything that the deployed worker does is on: MD5 and gzip's CRC, the check of each line's form, checkpoints every
second, accounting, the ledger's conditional writes. Timed is LOADING, from before the first shard is claimed until the
last has ended. Prints items, wall and CPU seconds, and the process' peak of memory.
"""

import json
import os
import sys
from importlib import import_module
from pathlib import Path

from benchmarks.machine import peak_bytes
from benchmarks.sets import BUCKET
from benchmarks.world import ENVIRON, World, loaded_bucket


def main(url: str, folder: str, items: int) -> None:
    os.environ.update(ENVIRON)
    import_module("app")  # as in Lambda: it is part of the process' memory
    world = World(loaded_bucket(Path(folder) / BUCKET), url)
    world.create_target()
    world.restore(items, max_workers=1)
    wall_s, cpu_s = world.took("LOADING")
    sys.stdout.write(json.dumps({"items": items, "wall_s": wall_s, "cpu_s": cpu_s, "peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
