"""The energy counters of a made-up ``/sys/class/powercap``."""

import pytest

from charloom.forecast.energy import joules_between, read_counters


def package(folder, name, value, span=None):
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    (place / "energy_uj").write_text(f"{value}\n", "ascii")
    if span is not None:
        (place / "max_energy_range_uj").write_text(f"{span}\n", "ascii")


def test_packages_are_added_and_their_subdomains_are_not(tmp_path):
    for name, value in (("intel-rapl:0", 1_000_000), ("intel-rapl:1", 5_000_000), ("intel-rapl:0:0", 77)):
        package(tmp_path, name, value)
    before = read_counters(tmp_path)
    assert [path.name for path in before] == ["intel-rapl:0", "intel-rapl:1"]
    package(tmp_path, "intel-rapl:0", 3_000_000)
    package(tmp_path, "intel-rapl:1", 5_500_000)
    package(tmp_path, "intel-rapl:0:0", 99_000_000)
    assert joules_between(before, read_counters(tmp_path)) == pytest.approx(2.5)


def test_a_counter_that_starts_again_has_gone_through_its_range(tmp_path):
    package(tmp_path, "intel-rapl:0", 9_000_000, span=10_000_000)
    before = read_counters(tmp_path)
    package(tmp_path, "intel-rapl:0", 500_000, span=10_000_000)
    assert joules_between(before, read_counters(tmp_path)) == pytest.approx(1.5)
    (tmp_path / "intel-rapl:0" / "max_energy_range_uj").unlink()
    assert joules_between(before, read_counters(tmp_path)) is None


@pytest.mark.parametrize("content", [b"", b"-5\n", b"1e6\n", b"\xff\xfe", b"9" * 400])
def test_what_is_not_a_counter_is_not_read(tmp_path, content):
    (tmp_path / "intel-rapl:0").mkdir()
    (tmp_path / "intel-rapl:0" / "energy_uj").write_bytes(content)
    assert read_counters(tmp_path) == {}


def test_without_counters_the_energy_is_unknown(tmp_path):
    assert read_counters(tmp_path / "none") == {}
    assert joules_between({}, {}) is None
