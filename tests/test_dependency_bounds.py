"""The bounds of dependencies: each is declared once, pinned for `make test-oldest`, and the newest is what others install."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.conftest import ROOT
from tests.scripts import script


@pytest.fixture(scope="module")
def bounds():
    return script("tools/dependency_bounds.py")


def test_every_dependency_has_a_lower_bound_and_no_upper_one(bounds):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    every = project["dependencies"] + [
        one for extra in project["optional-dependencies"].values() for one in extra
    ]
    found = bounds.requirements()
    assert {Requirement(one).name for one in found} == {Requirement(one).name for one in every} - {
        "torch",
        "charloom",
    }
    assert all(re.fullmatch(r"[\w-]+(\[\w+\])?>=[\d.]+", one) for one in found)
    assert len({Requirement(one).name for one in found}) == len(found)  # one bound each


def test_the_oldest_are_pinned_and_the_newest_are_free(bounds):
    found = bounds.requirements()
    oldest = [Requirement(bounds.at_bound(one, "oldest")) for one in found]
    assert [next(iter(one.specifier)).operator for one in oldest] == ["=="] * len(found)
    assert [bounds.at_bound(one, "newest") for one in found] == found


def test_what_the_tests_install_is_within_the_bounds(bounds):
    pinned = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
        if "==" in line
    )
    for one in map(Requirement, bounds.requirements()):
        assert one.specifier.contains(Version(pinned[one.name])), one
