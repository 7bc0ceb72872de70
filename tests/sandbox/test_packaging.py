"""Chalice's packager and hashes: what docs/decisions/0008 builds on. Two small wheels on disk stand for an index."""

import base64
import hashlib
import zipfile
from pathlib import Path

import pytest
from chalice.deploy.packager import DependencyBuilder, PackageDownloadError
from chalice.utils import OSUtils


def write_wheel(directory: Path, name: str, needs: str = "") -> str:
    """An empty package; returns the wheel's SHA-256."""
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": f"NAME = {name!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {
        path: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        for path, text in files.items()
    }
    record = "".join(f"{path},sha256={digest},{len(files[path])}\n" for path, digest in digests.items())
    wheel = directory / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(path, text)
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


@pytest.fixture
def hashes(tmp_path, monkeypatch) -> dict[str, str]:
    """`outer`, which needs `inner`, are all that pip can find."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for variable, value in {"NO_INDEX": "1", "FIND_LINKS": str(wheels), "CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(f"PIP_{variable}", value)
    return {
        "outer": write_wheel(wheels, "outer", "Requires-Dist: inner\n"),
        "inner": write_wheel(wheels, "inner"),
    }


def package(tmp_path: Path, requirements: str) -> list[str]:
    """The modules that Chalice would deploy."""
    path = tmp_path / "requirements.txt"
    path.write_text(requirements)
    target = tmp_path / "site-packages"
    DependencyBuilder(OSUtils()).build_site_packages("cp311", str(path), str(target))
    return sorted(module.name for module in target.glob("*.py"))


def test_packages_with_the_right_hashes_are_packaged(tmp_path, hashes):
    lines = "".join(f"{name}==1.0 \\\n    --hash=sha256:{digest}\n" for name, digest in hashes.items())
    assert package(tmp_path, lines) == ["inner.py", "outer.py"]


def test_a_package_that_was_exchanged_ends_the_deploy(tmp_path, hashes):
    hashes["inner"] = "0" * 64
    lines = "".join(f"{name}==1.0 --hash=sha256:{digest}\n" for name, digest in hashes.items())
    with pytest.raises(PackageDownloadError, match="DO NOT MATCH THE HASHES"):
        package(tmp_path, lines)


def test_a_package_that_nobody_pinned_ends_the_deploy(tmp_path, hashes):
    with pytest.raises(PackageDownloadError, match=r"inner|must have their versions pinned"):
        package(tmp_path, f"outer==1.0 --hash=sha256:{hashes['outer']}\n")
