"""The command line imports nothing heavy for its help, and ends without a last search for cycles."""

import gc
import subprocess
import sys

from charloom.cli import main
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


def test_only_the_end_of_the_process_spares_the_last_search_for_cycles(monkeypatch, capsys):
    frozen = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(True))
    assert main(["--version"]) == 0
    assert not frozen, "a program that calls `main` goes on and needs its collector"
    monkeypatch.setattr(sys, "argv", ["charloom", "--version"])
    assert main() == 0
    assert frozen
