"""A folder as the Hugging Face Hub expects it: weights, configuration and card, none of which can be executed.

model.safetensors   the model file, which charloom reads as it is
config.json         the network, the rules of the text and the vocabulary, for other programs
README.md           the card
"""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from charloom import __version__
from charloom.config import to_dict
from charloom.errors import RunError, missing_extra
from charloom.files import atomic_write, made_folder
from charloom.modelfile import ModelFile, write_model
from charloom.runs import SHARED, is_shared_folder

FILES = ("model.safetensors", "config.json", "README.md")


def write_hub_folder(folder: Path, file: ModelFile, *, card: str) -> list[Path]:
    """Write the three files, to a new folder or over an earlier export.

    Args:
        folder: made if it does not exist.
        file: the model.
        card: the text of README.md.

    Returns:
        The files.

    Raises:
        RunError: the folder has other files, or cannot be written to.
    """
    check_hub_folder(folder)
    paths = [folder / name for name in FILES]
    with made_folder(folder):
        write_model(paths[0], file)
        atomic_write(paths[1], json.dumps(_config(file), indent=1) + "\n")  # ASCII only
        atomic_write(paths[2], card)
    return paths


def check_hub_folder(folder: Path) -> None:
    """Refuse a folder in which something else would be overwritten or uploaded.

    Raises:
        RunError: it exists, and is neither empty nor an earlier export.
    """
    try:
        if not folder.exists() or not any(folder.iterdir()) or is_shared_folder(folder):
            return
        why = "its files could be overwritten"
    except NotADirectoryError:
        why = "it is a file"
    raise RunError(f"{folder} is not an exported folder", why=why, fix="name a new folder")


def _config(file: ModelFile) -> dict[str, Any]:
    return {
        "model_type": SHARED,
        "charloom_version": __version__,
        "model": to_dict(file.model_config),
        "text": to_dict(file.text_config),
        "vocab": file.vocab.to_json(),
    }


def check_hub_library() -> None:
    """Refuse an upload that cannot work.

    Raises:
        MissingExtraError: huggingface_hub is not installed.
    """
    if find_spec("huggingface_hub") is None:
        raise missing_extra("huggingface_hub", "hub", "uploading to the Hugging Face Hub")


def push_hub_folder(folder: Path, repo: str) -> str:
    """Upload an exported folder to the Hugging Face Hub; a repository that does not exist is created, and is private.

    Args:
        folder: from `write_hub_folder`.
        repo: NAME/MODEL.

    Returns:
        The address of the upload.

    Raises:
        MissingExtraError: huggingface_hub is not installed.
        RunError: the Hub refused, or could not be reached.
    """
    check_hub_library()
    from huggingface_hub import HfApi

    try:
        api = HfApi()
        api.create_repo(repo, private=True, exist_ok=True)
        done = api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            allow_patterns=list(FILES),
            commit_message=f"charloom {__version__}",
        )
    except Exception as error:  # of the library, of its HTTP client, or of the network
        what, why = f"cannot upload to {repo}", " ".join(str(error).split()) or type(error).__name__
        fix = f"run `hf auth login`, check the name and the network, and upload again; {folder} is complete"
        raise RunError(what, why=why, fix=fix) from error
    return str(done)


def shareable(file: ModelFile) -> ModelFile:
    """The model without the folders that its card names: of the recipe, and of the model or run that it came from."""
    card = dict(file.card)
    if isinstance(card.get("recipe"), str):
        card["recipe"] = _last_part(card["recipe"])
    for origin in ("init_from", "branched_from"):
        if isinstance(start := card.get(origin), dict) and isinstance(start.get("path"), str):
            card[origin] = start | {"path": _last_part(start["path"])}
    return replace(file, card=card)


def _last_part(path: str) -> str:
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2]
