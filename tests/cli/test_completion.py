"""``charloom --install-completion``: scripts for bash, zsh and fish, installed in a temporary home and run there."""

import shutil
import subprocess

import pytest

from charloom.cli.verbs import VERBS

SCRIPTS = {
    "bash": ".local/share/bash-completion/completions/charloom",
    "zsh": ".zsh/completions/_cyclopts_charloom",
    "fish": ".config/fish/completions/charloom.fish",
}
BASH_COMPLETE = """
source ~/.bashrc
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
_charloom charloom "${COMP_WORDS[COMP_CWORD]}" ""
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in ("ZSH", "ZSH_CUSTOM", "ZDOTDIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tales.txt").write_text("a text", encoding="utf-8")
    return tmp_path


def output_of(shell, *words):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    return subprocess.run([shell, *words], capture_output=True, text=True, check=True, timeout=60).stdout


def bash_completes(*words):
    return set(output_of("bash", "--norc", "-c", BASH_COMPLETE, "bash", *words).split())


@pytest.mark.parametrize("shell", SCRIPTS)
def test_a_script_is_installed_and_names_every_verb_and_its_flags(charloom, home, shell):
    done = charloom(f"--install-completion --shell {shell}")
    assert done.code == 0
    assert str(home / SCRIPTS[shell]) in done.out
    script = (home / SCRIPTS[shell]).read_text("utf-8")
    assert all(verb in script for verb in VERBS)
    assert "hidden-size" in script
    assert charloom(f"--install-completion --shell {shell}").code == 0  # again changes nothing
    assert (home / SCRIPTS[shell]).read_text("utf-8") == script


def test_bash_completes_verbs_flags_choices_and_files(charloom, home):
    assert charloom("--install-completion --shell bash").code == 0
    assert bash_completes("charloom", "tra") == {"train"}
    assert bash_completes("charloom", "train", "--hid") == {"--hidden-size"}
    assert bash_completes("charloom", "train", "--cell", "") == {"elman", "lstm", "gru", "mingru"}
    assert bash_completes("charloom", "train", "ta") == {"tales.txt"}
    assert bash_completes("charloom", "sample", "ta") == {"tales.txt"}
    assert bash_completes("charloom", "eval", "runs/x", "ta") == {"tales.txt"}
    assert bash_completes("charloom", "train", "--val", "ta") == {"tales.txt"}
    assert (home / ".bashrc").read_text("utf-8").count("\n") == 2


def test_zsh_loads_the_script(charloom, home):
    done = charloom("--install-completion --shell zsh")
    assert "autoload -Uz compinit && compinit" in done.out
    (home / ".zshrc").write_text((home / ".zshrc").read_text() + "\nautoload -Uz compinit && compinit -D\n")
    assert charloom("--install-completion --shell zsh").out.endswith("open a new shell\n")
    output_of("zsh", "-n", str(home / SCRIPTS["zsh"]))
    assert output_of("zsh", "-fc", "source ~/.zshrc; print $_comps[charloom]").strip() == "_cyclopts_charloom"


def test_fish_completes_verbs_flags_and_choices(charloom, home):
    assert charloom("--install-completion --shell fish").code == 0

    def completes(line):
        shown = output_of("fish", "-c", f"source {SCRIPTS['fish']}; complete -C '{line}'")
        return {word.partition("\t")[0] for word in shown.splitlines()}

    assert completes("charloom tra") == {"train"}
    assert completes("charloom train --hid") == {"--hidden-size"}
    assert completes("charloom train --cell ") >= {"elman", "lstm", "gru", "mingru"}
    assert completes("charloom train ta") >= {"tales.txt"}


def test_an_unknown_shell_is_explained(charloom, home, monkeypatch):
    from cyclopts.completion import detect

    def unknown():
        raise detect.ShellDetectionError("no shell found")

    monkeypatch.setattr(detect, "detect_shell", unknown)
    done = charloom("--install-completion")
    assert done.code == 2
    assert "--shell bash" in done.err


def test_a_home_that_is_not_writable_is_explained(charloom, home, monkeypatch):
    (home / "file").write_text("not a folder")
    monkeypatch.setenv("HOME", str(home / "file"))
    done = charloom("--install-completion --shell bash")
    assert done.code == 1
    assert "cannot be written" in done.err


def test_a_file_argument_is_passed_as_written(monkeypatch):
    from charloom.cli.run import parse

    call = parse(["train", "./a/../b", "-", "--val", "./v", "--resume", "r", "--text", "./t"])
    assert call.args[1:] == ["./a/../b", "-"]
    assert (call.settings["val"], call.settings["moved_to"]) == ("./v", ["./t"])
