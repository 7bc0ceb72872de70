"""What dynamodump needs: an environment of its own, as it pins another boto3, and a dump in its own format."""

import gzip
import json
import subprocess
import sys
from itertools import islice
from pathlib import Path

from benchmarks.cache import cache_folder
from benchmarks.errors import NotMeasurable
from benchmarks.sets import TABLE, PreparedSet

VERSION = "1.11.1"
REQUIREMENTS = Path(__file__).parent / "requirements-dynamodump.txt"
_ITEMS_PER_FILE = 1_000  # its backup writes a file per page of a scan, which is 1 MB
_SCHEMA = {
    "Table": {
        "TableName": TABLE,
        "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        "ProvisionedThroughput": {"ReadCapacityUnits": 0, "WriteCapacityUnits": 0},
    }
}


def dynamodump_python() -> Path:
    """The Python of its environment, made when it is not there. Raises NotMeasurable where pip cannot."""
    folder = cache_folder("environments") / f"dynamodump-{VERSION}"
    python, is_made = folder / "bin" / "python", folder / ".made"
    if not is_made.exists():
        for command in (
            [sys.executable, "-m", "venv", str(folder)],
            [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(REQUIREMENTS)],
        ):
            made = subprocess.run(command, capture_output=True, text=True, check=False)
            if made.returncode:
                raise NotMeasurable(f"dynamodump {VERSION} cannot be installed: {made.stderr.strip()[-300:]}")
        is_made.touch()
    return python


def dump_of(backup: PreparedSet, items: int) -> Path:
    """A folder with the first items of each data file in dynamodump's format."""
    folder = cache_folder("dumps") / f"{backup.spec.name}-{items}"
    table = folder / TABLE
    if (table / "schema.json").exists():
        return folder
    (table / "data").mkdir(parents=True, exist_ok=True)
    files = backup.data_files()
    number = 0
    for file in files:
        with gzip.open(file) as lines:
            wanted = islice(lines, items // len(files))
            while page := [json.loads(line)["Item"] for line in islice(wanted, _ITEMS_PER_FILE)]:
                (table / "data" / f"{number:04d}.json").write_text(json.dumps({"Items": page}))
                number += 1
    (table / "schema.json").write_text(json.dumps(_SCHEMA))  # last: it says that the dump is whole
    return folder
