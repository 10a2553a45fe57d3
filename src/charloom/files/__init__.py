"""Files that survive crashes: atomic writes, one writer at a time, and what is left by a dead one swept."""

from charloom.files.atomic import (
    NOT_WRITTEN,
    append_line,
    atomic_write,
    copy_file,
    made_folder,
    make_folder,
    replace_durably,
    sweep_parts,
    sync_file,
    unwritable,
)
from charloom.files.content import json_text, sha256_of, text_of_file
from charloom.files.lock import Lock, boot_id

__all__ = [
    "NOT_WRITTEN",
    "Lock",
    "append_line",
    "atomic_write",
    "boot_id",
    "copy_file",
    "json_text",
    "made_folder",
    "make_folder",
    "replace_durably",
    "sha256_of",
    "sweep_parts",
    "sync_file",
    "text_of_file",
    "unwritable",
]
