"""What a file system may contain after a power cut: a model of POSIX, which promises only what was synced.

The shim looks at a folder before and after each call that renames, removes, makes or syncs something. A cut can come at
each of these moments. What a file contains after it is what was synced, or the rest is missing, cut in half, or zeros; and
each folder has one of the lists of names that it had since it was synced itself, independently of the other folders.
"""

import os
import stat
from dataclasses import dataclass

CHANGES = ("replace", "rename", "unlink", "mkdir", "rmdir", "link", "fsync")


@dataclass(frozen=True)
class Moment:
    """What is stored for sure, and what may be: of each folder, by its number, and of each file."""

    names: dict  # number of a folder → the lists of names that it may have, the newest last
    synced: dict  # number of a file → its synced content
    written: dict  # number of a file → its content now
    marks: tuple


class Disk:
    """Records the moments of what happens in a folder; `install` before, `states` afterwards."""

    def __init__(self, root):
        self.root, self.moments, self.marks = root, [], []
        self._numbers, self._next = {}, 0
        self._names, self._synced = {}, {}
        found, written = self._look()
        self._names = {folder: [names] for folder, names in found.items()}
        self._synced = dict(written)

    def install(self, monkeypatch, without=None):
        """Watch the calls of this process; a sync that is `without` (file or folder) is left out: the writer's fault."""
        for name in CHANGES:
            monkeypatch.setattr(os, name, self._watched(name, getattr(os, name), without))

    def mark(self, value):
        """Note what was promised by now."""
        self.marks.append(value)
        self._observe()

    def _watched(self, name, real, without):
        def call(*args, **how):
            self._observe()
            if name != "fsync":
                result = real(*args, **how)
            else:
                is_folder = stat.S_ISDIR(os.fstat(args[0]).st_mode)
                result = None if without == ("folder" if is_folder else "file") else self._sync(args[0])
            self._observe()
            return result

        return call

    def _sync(self, descriptor):
        number = self._numbers.get(os.fstat(descriptor).st_ino)
        if number in self._names:
            self._names[number] = self._names[number][-1:]
        elif number is not None:
            position = os.lseek(descriptor, 0, os.SEEK_CUR)
            self._synced[number] = self._written[number]
            assert os.lseek(descriptor, 0, os.SEEK_CUR) == position

    def _look(self):
        """The folders' names, {number: {name: number}}, and the files' contents, as they are now."""
        inodes, folders, files = {}, {}, {}

        def number_of(path):
            inode = path.lstat().st_ino
            if inode not in inodes:
                if inode not in self._numbers:
                    self._next += 1
                inodes[inode] = self._numbers.get(inode, self._next)
                self._numbers[inode] = inodes[inode]
            return inodes[inode]

        def visit(folder):
            number, names = number_of(folder), {}
            for path in folder.iterdir():
                names[path.name] = number_of(path)
                if path.is_dir():
                    visit(path)
                else:
                    files[names[path.name]] = path.read_bytes()
            folders[number] = names

        visit(self.root)
        self._numbers = inodes  # an inode without a name may be given to another file
        return folders, files

    def _observe(self):
        folders, self._written = self._look()
        for number, names in folders.items():
            before = self._names.setdefault(number, [{}])
            if names != before[-1]:
                self._names[number] = [*before, names]
        for number in self._written:
            self._synced.setdefault(number, b"")
        names = {number: tuple(maps) for number, maps in self._names.items()}
        moment = Moment(names, dict(self._synced), dict(self._written), tuple(self.marks))
        if not self.moments or self.moments[-1] != moment:
            self.moments.append(moment)

    def states(self):
        """Each distinct state after a cut: ({path: content, None for a folder}, what was promised before it)."""
        seen = set()
        contents = {}
        for moment in self.moments:
            contents |= moment.written
            for choice in _choices(moment.names):
                for damage in DAMAGES:
                    found = _tree(1, moment, choice, contents, damage)
                    key = hash((frozenset(found.items()), moment.marks))
                    if key not in seen:
                        seen.add(key)
                        yield found, moment.marks


def _choices(names):
    """Which list of names each folder has: all the oldest, all the newest, or one that differs from the oldest."""
    yield dict.fromkeys(names, 0)
    yield {number: len(maps) - 1 for number, maps in names.items()}
    for number, maps in names.items():
        for place in range(1, len(maps)):
            yield dict.fromkeys(names, 0) | {number: place}
            yield {other: len(known) - 1 for other, known in names.items()} | {number: place - 1}


def _missing(synced, written):
    return synced


def _half(synced, written):
    return (
        written[: (len(synced) + len(written)) // 2]
        if written.startswith(synced)
        else written[: len(written) // 2]
    )


def _zeros(synced, written):
    kept = len(synced) if written.startswith(synced) else 0
    return written[:kept] + bytes(len(written) - kept)


def _whole(synced, written):
    return written


DAMAGES = (_missing, _half, _zeros, _whole)
"""What may become of bytes that were not synced."""


def _tree(folder, moment, choice, contents, damage, path=""):
    """{path: content} of a folder and all in it, after a cut."""
    found = {}
    for name, number in moment.names[folder][choice[folder]].items():
        place = f"{path}{name}"
        if number in moment.names:
            found[place] = None
            found |= _tree(number, moment, choice, contents, damage, f"{place}/")
        else:
            written = contents.get(number, b"")
            synced = moment.synced.get(number, b"")
            found[place] = written if synced == written else damage(synced, written)
    return found


def restore(state, folder):
    """Make the folder and all that a state has in it."""
    folder.mkdir()
    for path, content in sorted(state.items()):
        if content is None:
            (folder / path).mkdir()
        else:
            (folder / path).write_bytes(content)
    return folder
