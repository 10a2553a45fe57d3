"""Exit code 2: what is wrong with a command line, with the nearest valid name."""

import pytest

from charloom.cli.suggestions import ELSEWHERE
from charloom.cli.verbs import build_app


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("trian tales.txt", 'Did you mean "train"?'),
        ("train --hiden-size 4", "Did you mean --hidden-size?"),
        ("sample runs/x --temp 0.7", "Unknown option: --temp. Did you mean --temperature?"),
        ("sample runs/x --temp=0.7", "Unknown option: --temp. Did you mean --temperature?"),
        ("sample runs/x --top 3", "Did you mean --top-k or --top-p?"),
        ("train --batch 4", "Did you mean --batch-size?"),
        ("train --layers 2", "Did you mean --num-layers?"),
        ("train --lr 0.1", "Did you mean --learning-rate?"),
        ("train --frobnicate", "Unknown option: --frobnicate\n"),
        ("train --cell gruu", 'Did you mean "gru"?'),
        ("train --hidden-size wide", "'wide' is not a whole number"),
        ("train --hidden-size", "--hidden-size requires an argument"),
        ("train --steps 3 --steps 4", "--steps specified multiple times"),
        ("sample", "requires an argument"),
        ("sample a b", "b"),
        ("prepare tales.txt", "--out"),
        ("corpus fetch", "list"),
        ("corpus get", "names no corpus"),
        ("sample runs/x --stream --json", "--stream and --json"),
        ("sample runs/x --stream --count 2", "--stream with --count 2"),
        ("sample runs/x --prompt a --prompt-file b", "--prompt and --prompt-file"),
        ("eval runs/x --learning-rate 0.1", "--learning-rate with --protocol stream"),
        ("train --resume runs/x --hidden-size 4", "--resume cannot be combined with --hidden-size"),
        ("train --resume runs/x --steps 400", "--resume cannot be combined with --steps 400"),
        ("train --steps +20", "--steps +20 without --resume"),
    ],
)
def test_wrong_usage(charloom, line, says):
    done = charloom(line)
    message = done.out if "--json" in line else done.err
    assert done.code == 2
    assert says in message
    assert "Traceback" not in done.err


def test_wrong_usage_as_json(charloom):
    done = charloom("train --hiden-size 4 --json")
    assert done.code == 2
    assert done.json["schema"] == 1
    assert done.json["error"] == {
        "kind": "UsageError",
        "what": "Unknown option: --hiden-size. Did you mean --hidden-size?",
        "why": "the command line cannot be parsed",
        "fix": "see `charloom train --help`",
    }


def test_the_fix_refers_to_the_verbs_help(charloom):
    assert "charloom sample --help" in charloom("sample --lenght 3 runs/x").err
    assert "charloom --help" in charloom("nonsense").err


def test_the_flags_of_other_programs_lead_to_flags_of_a_verb():
    known = {name for verb in ("train", "sample") for argument in parsed(verb) for name in argument.names}
    assert set(ELSEWHERE.values()) <= known
    assert not set(ELSEWHERE) & known


def parsed(verb):
    return build_app(verb)[verb].assemble_argument_collection()
