"""What is deployed is pinned with hashes, all the way down, and is what the tests ran with.

`make lock` writes requirements.txt and requirements-deploy.txt; see docs/decisions/0008.
"""

import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_REPOSITORY = Path(__file__).resolve().parents[2]
LOCKED = ("requirements.txt", "requirements-deploy.txt")
_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}\Z")


def requirements(name: str) -> Iterator[tuple[Requirement, list[str]]]:
    """Each requirement of a file, with its hashes."""
    text = (_REPOSITORY / name).read_text().replace("\\\n", " ")
    for line in text.splitlines():
        words = line.split(" #")[0].strip()
        if words and not words.startswith(("#", "-")):
            requirement, *options = words.split(" --")
            yield Requirement(requirement.strip()), [f"--{option.strip()}" for option in options]


def pinned(name: str) -> dict[str, str]:
    """Version by package."""
    versions: dict[str, str] = {}
    for requirement, _ in requirements(name):
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", requirement
        versions[canonicalize_name(requirement.name)] = specifier.version
    return versions


def needed_by(package: str) -> set[str]:
    """The package and all that it needs here, as installed."""
    needed: set[str] = set()
    waiting = [package]
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in needed:
            continue
        needed.add(name)
        wanted = map(Requirement, metadata.requires(name) or ())
        waiting += [one.name for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    return needed


def asked_for() -> list[str]:
    return [requirement.name for requirement, _ in requirements("requirements.in")]


def test_what_is_asked_for_is_what_the_lock_was_made_of():
    assert asked_for()
    locked = pinned("requirements.txt")
    for name, version in pinned("requirements.in").items():
        assert locked[name] == version, f"{name} differs: run `make lock`"


@pytest.mark.parametrize("package", asked_for())
def test_every_deployed_package_is_pinned_to_what_is_installed_all_the_way_down(package):
    locked = pinned("requirements.txt")
    needed = needed_by(package)
    assert needed <= set(locked), "run `make lock`"
    assert {name: locked[name] for name in needed} == {name: metadata.version(name) for name in needed}


def test_nothing_is_deployed_that_nobody_needs():
    needed = set().union(*map(needed_by, asked_for()))
    assert set(pinned("requirements.txt")) == needed


@pytest.mark.parametrize("name", LOCKED)
def test_every_pin_has_hashes_and_the_file_names_no_index(name):
    for requirement, hashes in requirements(name):
        assert hashes, requirement
        assert all(_HASH.match(one) for one in hashes), requirement
    text = (_REPOSITORY / name).read_text()
    assert "://" not in text
    assert not re.search(r"^-", text, re.MULTILINE), "an option that says where packages come from"


def test_packages_with_compiled_code_have_the_hashes_of_all_platforms():
    """One of each file of a release: a lock made on one machine must serve the others."""
    counts = {requirement.name: len(hashes) for requirement, hashes in requirements("requirements.txt")}
    assert min(counts["msgspec"], counts["isal"]) > 30


def test_the_deployer_deploys_the_very_same_versions():
    deployed, deployer = pinned("requirements.txt"), pinned("requirements-deploy.txt")
    assert {name: deployer[name] for name in deployed} == deployed
    assert deployer["chalice"] == metadata.version("chalice")


def test_what_developers_install_besides_does_not_contradict_the_lock():
    locked = {**pinned("requirements-deploy.txt"), **pinned("requirements.txt")}
    for requirement, _ in requirements("requirements-dev.txt"):
        name = canonicalize_name(requirement.name)
        assert locked.get(name) in (None, *(one.version for one in requirement.specifier))
