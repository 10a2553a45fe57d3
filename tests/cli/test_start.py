"""The command line starts fast and imports nothing heavy for its help."""

import subprocess
import sys
import time

from charloom.cli.verbs import VERBS, build_app

HEAVY = {"torch", "matplotlib", "charloom.api"}
HELP_S = 0.5
VERB_HELP_S = 1.0


def best_time(words, tries):
    times = []
    for _ in range(tries):
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "charloom", *words], check=True, capture_output=True, timeout=60
        )
        times.append(time.perf_counter() - began)
        if times[-1] < HELP_S:
            break
    return min(times)


def test_help_answers_at_once():
    assert best_time(["--help"], tries=8) < HELP_S


def test_a_verbs_help_answers_soon():
    assert best_time(["train", "--help"], tries=5) < VERB_HELP_S


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
