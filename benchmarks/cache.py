"""Where benchmarks keep what is slow to make: outside of the checkout, under the XDG cache directory."""

import os
from pathlib import Path


def cache_folder(name: str) -> Path:
    """`~/.cache/tablevault/benchmarks/<name>`, made when it is not there. It may be deleted at any time."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "tablevault" / "benchmarks" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
