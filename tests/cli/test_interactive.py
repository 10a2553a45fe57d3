"""``charloom sample --interactive``, driven by a pipe and by a terminal: turns, commands, Ctrl-C, errors."""

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import time

import pytest

from charloom import api
from charloom.cli import interactive

TALK = "sample runs/tales --interactive --length 40 --seed 5"


def talk(charloom, *lines, words=TALK):
    return charloom(words, "".join(f"{line}\n" for line in lines).encode())


def continuation(prompt, length=40, seed=5, **settings):
    return api.load("runs/tales").sample(prompt, length=length, seed=seed, **settings)[0].text


def test_a_line_is_continued_as_by_sample(charloom, shared_folder):
    done = talk(charloom, "The ", "/quit", "never read")
    assert (done.code, done.err) == (0, "")
    assert done.out == continuation("The ") + "\n"


def test_the_next_line_continues_the_text_so_far(charloom, shared_folder):
    session = api.load("runs/tales").session(seed=5)
    wanted = []
    for line in ("The ", "", "then"):
        session.feed(line)
        wanted.append(session.generate(40))
    assert talk(charloom, "The ", "", "then").out == "".join(f"{text}\n" for text in wanted)


def test_undo_takes_back_a_turn(charloom, shared_folder):
    once = talk(charloom, "The ", "then")
    again = talk(charloom, "The ", "other", "/undo", "then")
    turn = 41  # characters, with the newline
    assert again.out[:turn] == once.out[:turn]
    assert again.out[2 * turn :] == once.out[turn:]
    assert "44 characters are left" in again.err


def test_undo_of_everything(charloom, shared_folder):
    done = talk(charloom, "The ", "/undo", "/undo", "The ")
    assert done.out == 2 * (continuation("The ") + "\n")
    assert "error: there is nothing to undo" in done.err
    assert done.code == 1


def test_settings_hold_for_the_turns_to_come(charloom, shared_folder):
    done = talk(charloom, "/temp 0", "/length 20", "The ", "/undo", "/seed 9", "/temp 1.5", "The ")
    assert (
        done.out
        == continuation("The ", 20, temperature=0.0)
        + "\n"
        + continuation("The ", 20, 9, temperature=1.5)
        + "\n"
    )
    assert done.code == 0


def test_undo_keeps_the_settings(charloom, shared_folder):
    done = talk(charloom, "The ", "/temp 0", "/undo", "The ")
    assert done.out == continuation("The ") + "\n" + continuation("The ", temperature=0.0) + "\n"


def test_settings_are_shown(charloom, shared_folder):
    shown = talk(charloom, "/temp", "/seed", "/length", "/temp 0.5", "/temp", "/seed 8", "/seed").err
    assert re.findall(r"note: (.*)", shown) == [
        "temperature: 1.0",
        "seed: 5",
        "length: 40",
        "temperature: 0.5",
        "seed: 8",
    ]


def test_a_seed_that_was_drawn_is_said_and_repeats_the_text(charloom, shared_folder):
    done = charloom("sample runs/tales --interactive --length 40", b"The \n")
    (seed,) = re.findall(r"^seed: (\d+)$", done.err, re.MULTILINE)
    assert done.out == continuation("The ", seed=int(seed)) + "\n"


def test_a_line_can_break_and_can_begin_with_a_slash(charloom, workspace):
    done = talk(charloom, "The\\", "end\\", "", "/save a.txt")
    assert (workspace / "a.txt").read_text("utf-8") == "The\nend\n" + done.out.removesuffix("\n")
    done = talk(charloom, "//The", "/save b.txt")
    assert (workspace / "b.txt").read_text("utf-8") == "/The" + done.out.removesuffix("\n")


def test_save_never_overwrites_another_file(charloom, workspace):
    (workspace / "a b.txt").write_text("mine", encoding="utf-8")
    done = talk(charloom, "The ", "/save a b.txt", "/save c d.txt", "then", "/save c d.txt", "/save")
    assert (workspace / "a b.txt").read_text("utf-8") == "mine"
    assert "error: a b.txt exists" in done.err
    assert "error: /save without a file" in done.err
    assert len((workspace / "c d.txt").read_text("utf-8")) == 4 + 40 + 4 + 40


def test_new_begins_a_new_text(charloom, workspace):
    done = talk(charloom, "The ", "more", "/new", "The ", "/save a.txt")
    assert done.out.endswith(continuation("The ") + "\n")
    assert (workspace / "a.txt").read_text("utf-8") == "The " + continuation("The ")


def test_each_document_is_the_next_sample_of_the_seed(charloom, workspace):
    done = charloom("sample runs/names --interactive --length 200 --seed 3", b"\n\nan\n/save n.txt\n")
    names = api.load("runs/names")
    samples = [one.text for one in names.sample("", count=3, length=200, seed=3)]
    third = names.sample("an", count=3, length=200, seed=3)[2].text
    assert done.out == f"{samples[0]}\n{samples[1]}\n{third}\n"
    assert (workspace / "n.txt").read_text("utf-8") == f"{samples[0]}\n{samples[1]}\nan{third}"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("/undoo", "unknown command /undoo\n  why: the commands are /undo /temp"),
        ("/undoo", "did you mean /undo?"),
        ("/zzz", "fix: a text that begins with / is typed as //"),
        ("/temp hot", "'hot' is not a number"),
        ("/length 2.5", "'2.5' is not a whole number"),
        ("/seed -1", "seed is -1"),
        ("/temp -1", "temperature is -1"),
        ("/temp nan", "temperature is nan"),
        ("/save nowhere/a.txt", "cannot write nowhere/a.txt"),
        ("漢", "the prompt contains '漢' (U+6F22)"),
        ("\x1b[31m", "the prompt contains '\\x1b'"),
        ("/\x1b[31m", "unknown command '/␛[31m'"),
    ],
)
def test_what_is_wrong_is_explained_and_the_dialogue_continues(charloom, shared_folder, line, says):
    done = talk(charloom, "The ", line, "", "/quit")
    assert says in done.err
    assert "\x1b" not in done.err + done.out
    assert done.out == talk(charloom, "The ", "").out
    assert done.code == 1


def test_help_lists_every_command(charloom, shared_folder):
    done = talk(charloom, "/help")
    assert done.code == 0
    for command in interactive.COMMANDS:
        assert f"\n  {command} " in done.err
    for command in {name.split()[0] for name in interactive.COMMANDS} - {"/quit"}:
        assert "unknown command" not in talk(charloom, command).err


def test_a_prompt_is_the_first_turn(charloom, shared_folder):
    done = talk(charloom, words=f"{TALK} --prompt The")
    assert done.out == "The" + continuation("The") + "\n"
    assert talk(charloom, "then", words=f"{TALK} --prompt The").out.startswith(done.out)
    assert talk(charloom, words=f"{TALK} --prompt /quit --unknown skip").out.startswith("/quit")


def test_unknown_characters_follow_the_policy(charloom, shared_folder):
    done = talk(charloom, "Thé ", words=f"{TALK} --unknown similar")
    assert "note: read 'é' (U+00E9) as 'e' (U+0065)" in done.err
    assert done.out == continuation("The ") + "\n"
    assert done.code == 0


@pytest.mark.parametrize(
    "flag",
    [
        *(
            "--json",
            "--stream",
            "--count 2",
            "--stop x",
            "--unique",
            "--new",
            "--logprobs --json",
            "--html p.html",
        ),
        *("--separator x", "--out-dir d", "--novelty", "--novelty-from 20", "--prompt -"),
    ],
)
def test_flags_without_meaning_are_refused(charloom, shared_folder, flag):
    done = talk(charloom, "The", words=f"{TALK} {flag}")
    assert done.code == 2
    assert "--interactive with --" in (done.err or done.out)


def test_the_first_ctrl_c_is_noted_and_the_second_raised():
    before = signal.getsignal(signal.SIGINT)
    with interactive.CtrlC() as ctrl_c:
        assert not ctrl_c.pressed
        signal.raise_signal(signal.SIGINT)
        assert ctrl_c.pressed
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.fixture
def terminal(workspace):
    """The dialogue in a process of its own, on a terminal."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    code = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"  # Ctrl-C goes to this process
    code += "from charloom.cli import main; raise SystemExit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *TALK.split(), "--temperature", "0.5"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=workspace,
        start_new_session=True,
        env={
            **os.environ,
            "TERM": "xterm",
            "NO_COLOR": "1",
            "PYTHONIOENCODING": "utf-8:strict",
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
    )
    os.close(theirs)
    yield Terminal(process, ours)
    process.kill()
    process.wait(timeout=10)
    os.close(ours)


class Terminal:
    def __init__(self, process, handle):
        self.process, self._handle, self.seen = process, handle, ""

    def type(self, text):
        os.write(self._handle, text if isinstance(text, bytes) else text.encode())

    def end_by_ctrl_c(self):
        """Press Ctrl-C at the beginning of a line until the process ends; its exit status.

        Python's readline overlooks a Ctrl-C that arrives while it shows a key, until the next key.
        """
        for _ in range(30):
            self.type("\x03")
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.process.wait(timeout=1)
        raise AssertionError(self.seen)

    def wait_for(self, pattern, within_s=60):
        """Read until the screen has the pattern; what came since the last match."""
        end = time.monotonic() + within_s
        while (found := re.search(pattern, self.seen, re.DOTALL)) is None:
            assert time.monotonic() < end, self.seen
            if select.select([self._handle], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self._handle, 4096).decode("utf-8", "replace").replace("\r\n", "\n")
                except OSError:  # the other end is closed
                    assert re.search(pattern, self.seen, re.DOTALL), self.seen
        text, self.seen = self.seen[: found.end()], self.seen[found.end() :]
        return text


def test_a_dialogue_on_a_terminal(terminal, workspace):
    terminal.wait_for("/help lists the commands.*> ")
    terminal.type("The \n")
    wanted = continuation("The ", temperature=0.5)
    terminal.wait_for(re.escape(wanted) + "\n.*> ")
    terminal.type("/length 0\n")
    terminal.wait_for("> ")
    terminal.type("then\n")
    terminal.wait_for("then\n.{50}")
    terminal.type("\x03")  # Ctrl-C stops the text
    terminal.wait_for("\n.*> ")
    terminal.type("/save a.txt\n")
    terminal.wait_for("wrote a.txt")
    assert (workspace / "a.txt").read_text("utf-8").startswith(f"The {wanted}then")
    terminal.type("/undo\n")
    terminal.wait_for("44 characters are left.*> ")
    terminal.type("/quit\n")
    assert terminal.process.wait(timeout=30) == 0


def test_a_history_of_lines(terminal, workspace):
    pytest.importorskip("readline")
    terminal.wait_for("/help lists the commands.*> ")
    terminal.type("The \n")
    terminal.wait_for(re.escape(continuation("The ", temperature=0.5)) + "\n.*> ")
    terminal.type("\x1b[A")  # the key of the line before
    terminal.wait_for("The ")
    assert terminal.end_by_ctrl_c() == 130


def test_bytes_that_are_no_text_are_explained(terminal, workspace):
    terminal.wait_for("/help lists the commands.*> ")
    terminal.type(b"The \xff\n")
    terminal.wait_for(r"error: the prompt contains '\\udcff'.*> ")
    terminal.type("The \n")
    terminal.wait_for(re.escape(continuation("The ", temperature=0.5)))
    terminal.type("/quit\n")
    assert terminal.process.wait(timeout=30) == 0


def test_the_end_of_the_input_of_a_terminal_ends(terminal, workspace):
    terminal.wait_for("/help lists the commands.*> ")
    terminal.type("\x04")
    assert terminal.process.wait(timeout=30) == 0


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to one process")
def test_ctrl_c_while_a_pipe_is_read(workspace):
    words = [sys.executable, "-m", "charloom", *TALK.split()]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdin.write(b"/length 0\nThe \n")
        process.stdin.flush()
        assert len(process.stdout.read(2000)) == 2000
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(b"/undo\n", timeout=30)
        assert process.returncode == 0
        assert b"0 characters are left" in err
        assert b"Traceback" not in err
        assert out.endswith(b"\n")
