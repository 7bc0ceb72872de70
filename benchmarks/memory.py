"""Memory: the peak of a worker's process that loads one data file, of 10 MB, of 1 GB, and of 2.2 GB, which is cut into
slices.

The process is the deployed one, app.py and all, plus the in-memory ledger it talks to; the file comes from the
stand-in. The peak is the kernel's (VmHWM), from the process' start to its end.
"""

from functools import partial

from benchmarks.child import found_by_module
from benchmarks.figures import Figures, Size, Table, Target, interleaved, median
from benchmarks.sets import SetSpec, prepared
from benchmarks.stand_in import stand_in

_LINE_BYTES = 500
_FILE_BYTES = {"10 MB": 10_000_000, "1 GB": 1_000_000_000, "2.2 GB, in slices": 2_200_000_000}
_MOST_BYTES = 150_000_000
_FLAT_BYTES = 20_000_000  # what the larger file may take more and still be called flat
_MOST_ROUNDS = 3


def measure(size: Size) -> Figures:
    file_bytes = {"50 kB": 50_000} if size.is_tiny else _FILE_BYTES
    specs = {name: SetSpec(of_file // _LINE_BYTES, _LINE_BYTES, 1) for name, of_file in file_bytes.items()}
    runs = interleaved(
        {name: partial(_peak_bytes, spec) for name, spec in specs.items()},
        1 if size.is_tiny else min(size.rounds, _MOST_ROUNDS),
    )
    peaks = {name: median(of_one) for name, of_one in runs.items()}
    growth = max(peaks.values()) - min(peaks.values())
    return Figures(
        title="Memory of a worker",
        tables=[Table(("data file, uncompressed", "peak RSS"), [(name, _mb(peak)) for name, peak in peaks.items()])],
        targets=[
            Target("peak RSS", "< 150 MB", _mb(max(peaks.values())), max(peaks.values()) < _MOST_BYTES),
            Target("growth from the smallest to the largest", "none (< 20 MB)", _mb(growth), growth < _FLAT_BYTES),
        ],
        notes=[
            f"One data file with lines of {_LINE_BYTES} B, no latency, app.py imported; the ledger in memory is counted"
            " with it.",
        ],
        raw=runs,
    )


def _peak_bytes(spec: SetSpec) -> float:
    backup = prepared(spec)
    with stand_in(backup.root) as server:
        found = found_by_module("benchmarks.write_path.restore", server.url, backup.root, spec.items)
    return float(found["peak_bytes"])


def _mb(size_bytes: float) -> str:
    return f"{size_bytes / 1e6:.0f} MB"
