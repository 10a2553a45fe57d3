"""The command line imports nothing heavy for its help, and ends without taking torch apart."""

import subprocess
import sys

import pytest

import charloom
from charloom.cli.verbs import VERBS, build_app

HEAVY = {"torch", "matplotlib", "charloom.api"}


def test_help_imports_nothing_heavy():
    script = f"""if True:
        import sys
        from charloom.cli import main
        for words in [["--help"], *([verb, "--help"] for verb in sys.argv[1:])]:
            assert main(words) == 0
            found = {HEAVY} & set(sys.modules)
            assert not found, f"charloom {{words}} imports {{found}}"
    """
    done = subprocess.run(
        [sys.executable, "-c", script, *VERBS], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.count(b"examples:") == 1 + len(VERBS)


def test_every_verb_is_in_the_list(charloom):
    shown = charloom("--help").out
    assert all(f" {verb} " in shown for verb in VERBS)


def test_a_verbs_help_begins_with_its_summary(charloom):
    for verb, summary in VERBS.items():
        assert summary in charloom([verb, "--help"]).out.replace("\n", " "), verb


def test_version(charloom):
    import charloom as package

    assert charloom("--version").out.strip() == package.__version__


def test_python_m_charloom_returns_the_exit_code():
    done = subprocess.run(
        [sys.executable, "-m", "charloom", "nonsense"], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 2


def test_verbs_are_found_by_the_app():
    assert set(VERBS) <= set(build_app())


ENDING = """
import atexit, os, sys
from charloom.cli import entry_point
sys.argv = ["charloom", *{words}]
{load}
atexit.register(lambda: print("registered", flush=True))
class Slow:
    def __del__(self, write=os.write):
        write(1, b"taken apart\\n")
kept = Slow()
entry_point()
"""


@pytest.mark.parametrize("loaded", [True, False], ids=["torch", "no torch"])
@pytest.mark.parametrize(
    ("words", "code"), [(["--version"], 0), (["info", "nothing"], 1)], ids=["done", "failed"]
)
def test_a_process_with_torch_ends_at_once_after_what_was_registered(words, code, loaded):
    load = 'sys.modules["torch"] = sys' if loaded else ""
    script = ENDING.format(words=words, load=load)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code, done.stderr
    assert "registered" in done.stdout
    assert ("taken apart" in done.stdout) == (not loaded)
    assert (code == 0) == (charloom.__version__ in done.stdout)
    assert (code == 1) == ("cannot read nothing" in done.stderr)
