"""The import direction that chalicelib/__init__.py draws, read from the source of every deployed module."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# What each part may import of our own; a part is the first name after `chalicelib.`.
BASE = {"clock", "errors"}
ALLOWED: dict[str, set[str]] = {
    "clock": set(),
    "errors": set(),
    "logs": set(),
    "tokens": set(),
    "validation": {"errors"},
    "selection": set(),
    "settings": {"errors", "selection"},
    "aws": BASE,
    "retry": BASE,
    "parameters": BASE | {"selection", "settings", "aws", "retry"},
    "ledger": BASE | {"aws"},
    "idempotency": BASE | {"ledger"},
    "backup": BASE | {"selection", "settings", "aws", "retry", "ledger", "backup"},
    "restore": BASE | {"validation", "selection", "settings", "aws", "retry", "ledger", "restore", "backup"},
    # Of a set's rows and its manifest, and of notices; that it calls nothing else is checked below.
    "telling": BASE | {"settings", "aws", "ledger", "backup"},
    "services": BASE
    | {"settings", "parameters", "aws", "retry", "ledger", "idempotency", "backup", "restore", "telling", "tokens"},
    "entry": BASE | {"services", "backup", "restore"},
    "api": BASE | {"validation", "services", "idempotency", "backup", "restore", "tokens", "api"},
}
# The contract in the bucket, and the mark of sets that are being removed: all of the backup side that a restore may
# know.
BACKUP_FOR_RESTORE = {
    "backup_names",
    "layout",
    "manifest",
    "chain",
    "documents",
    "export_files",
    "definition",
    "reading",
    "removal_mark",
}
# What telling may know of the backup side: rows, what they say, and how a manifest is read. Nothing that moves a set.
BACKUP_FOR_TELLING = {
    "assembly",
    "catalog",
    "documents",
    "failures",
    "layout",
    "manifest",
    "notices",
    "on_demand",
    "reading",
    "rows",
    "states",
}
CHALICE_ONLY_IN = {"api"}


def modules() -> list[Path]:
    return sorted((ROOT / "chalicelib").rglob("*.py"))


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def part_of(path: Path) -> str:
    return path.relative_to(ROOT / "chalicelib").parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_module_imports_only_what_lies_below_it(path: Path):
    part = part_of(path)
    if part == "__init__":
        return
    own = {name.split(".")[1] for name in imported(path) if name.startswith("chalicelib.")}
    assert own - {part} <= ALLOWED[part]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_api_knows_chalice_and_nothing_knows_sandbox_or_tests(path: Path):
    roots = {name.split(".")[0] for name in imported(path)}
    assert not roots & {"sandbox", "tests", "moto", "ministack", "pytest"}
    assert "chalice" not in roots or part_of(path) in CHALICE_ONLY_IN


@pytest.mark.parametrize("path", sorted((ROOT / "chalicelib/restore").rglob("*.py")), ids=lambda path: path.name)
def test_restore_reads_only_the_contract_of_the_backup_side(path: Path):
    of_backup = {name.split(".")[2] for name in imported(path) if name.startswith("chalicelib.backup.")}
    assert of_backup <= BACKUP_FOR_RESTORE


@pytest.mark.parametrize("path", sorted((ROOT / "chalicelib/telling").rglob("*.py")), ids=lambda path: path.name)
def test_telling_knows_of_the_backup_side_what_there_is_to_tell(path: Path):
    of_backup = {name.split(".")[2] for name in imported(path) if name.startswith("chalicelib.backup.")}
    assert of_backup <= BACKUP_FOR_TELLING


def test_the_check_sees_an_import(tmp_path: Path):
    module = tmp_path / "module.py"
    module.write_text("from chalicelib.restore import worker\nimport chalice\n")
    assert {"chalicelib.restore", "chalice"} <= imported(module)
