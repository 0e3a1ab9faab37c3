"""The two descriptions of the environment say the same as pyproject.toml, and pin everything."""

from __future__ import annotations

import re
import tomllib

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from fercore.paths import ROOT

LOCK = (ROOT / "requirements.lock").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def locked() -> list[Requirement]:
    return [Requirement(line.rstrip(" \\")) for line in LOCK.splitlines() if re.match(r"[A-Za-z0-9]", line)]


def conda() -> tuple[list[str], list[str]]:
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (pip,) = (entry["pip"] for entry in listed if isinstance(entry, dict))
    return [entry for entry in listed if isinstance(entry, str)], pip


def test_lock_pins_every_dependency_within_its_bounds() -> None:
    pins = {canonicalize_name(entry.name): entry for entry in locked()}
    extras = PROJECT["optional-dependencies"]
    for text in [*PROJECT["dependencies"], *extras["book"], *extras["dev"]]:
        wanted = Requirement(text)
        (pin,) = pins[canonicalize_name(wanted.name)].specifier
        assert pin.operator == "==" and wanted.specifier.contains(pin.version, prereleases=True), text


def test_lock_has_a_hash_for_everything_and_no_address() -> None:
    blocks = re.split(r"\n(?=[A-Za-z0-9])", LOCK)
    assert all("--hash=sha256:" in block for block in blocks if re.match(r"[A-Za-z0-9]", block))
    assert "://" not in LOCK and "--index-url" not in LOCK and "--extra-index-url" not in LOCK
    assert all(entry.url is None for entry in locked())


def test_conda_installs_the_same_versions_and_the_package() -> None:
    _, pip = conda()
    assert pip[0] == "--editable ."
    assert [str(Requirement(line)) for line in pip[1:]] == [str(entry) for entry in locked()]


def test_conda_python_is_one_the_package_accepts() -> None:
    plain, _ = conda()
    (python,) = (entry.partition("=")[2].lstrip("=") for entry in plain if entry.startswith("python"))
    assert SpecifierSet(PROJECT["requires-python"]).contains(Version(python))
    assert "pip" in plain
