"""The one module that writes: files and stage directories that are whole or absent, run directories with one owner.

Whatever moment the process dies at, a path holds its old content or its new content. The protocol is the usual one:
write under a temporary name in the same directory, fsync, rename, fsync the directory. A stage directory carries
``DONE``, which holds the hash of every file in it; a directory whose ``DONE`` does not verify counts as absent.

Temporary names end in ``.tmp-<owner>`` (``.old-<owner>`` while a directory is being replaced). The owner is a process,
told apart from a later one of the same number by its start time and its boot. :func:`sweep` removes what the dead left.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import itertools
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from edgekit.errors import EdgekitError, OutputError, ResourceError, UsageError

DONE = "DONE"
MARKER = ".edgekit"  # marks a run directory as ours; its lock is the directory's lock
_OURS = b"A run directory of edgekit.\n"
_LEFTOVER = re.compile(r"(?P<name>.+)\.(?P<kind>tmp|old)-(?P<owner>\d+-\d+-[0-9a-f]+)-\d+")
_MAX_DONE = 1 << 26  # bytes, the record of half a million files; a longer DONE is not ours
_EXHAUSTED = {
    errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EFBIG, errno.ENOLCK,
}  # fmt: skip
_serial = itertools.count()


def write_file(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or a crash, sees the old content or all of the new.

    Raises:
        OutputError: the directory is missing or cannot be written, or the path is a directory.
        ResourceError: the disk is full or fails; the old content, or all of the new, is there.
    """
    temp = _temporary(path, "tmp")
    with _explained(path):
        try:
            _write(temp, data)
            os.rename(temp, path)
            _sync(path.parent)
        finally:
            _discard(temp)


def make_directory(path: Path) -> None:
    """Make a directory and those above it, where they are not there.

    Raises:
        OutputError: the path is a file, or a directory above it cannot be written.
    """
    with _explained(path):
        path.mkdir(parents=True, exist_ok=True)


@contextmanager
def commit(final: Path, key: str) -> Iterator[Path]:
    """Yield an empty directory that becomes ``final``, whole, when the block ends without an error.

    An older ``final`` is replaced: at every instant it or the new one is on the disk, and should the process die
    between the two renames, :func:`sweep` gives the old one its name back.

    Args:
        final: the directory to make; its parent exists.
        key: what the content depends on; :func:`completed` asks for it again.

    Raises:
        OutputError, ResourceError: as :func:`write_file`; the old directory is still there.
    """
    temp = _temporary(final, "tmp")
    try:
        with _explained(final):
            os.mkdir(temp)
        try:
            yield temp
        except OSError as error:
            if error.errno in _EXHAUSTED:
                raise _typed(error, final) from error
            raise
        with _explained(final):
            _seal(temp, key)
            _replace(temp, final)
    finally:
        _discard(temp)


def completed(directory: Path, key: str) -> dict[str, Any] | None:
    """Return the content of ``DONE`` (``key``, ``files``) if the directory is whole, untouched and made for ``key``."""
    return examine(directory, key)[0]


def examine(directory: Path, key: str) -> tuple[dict[str, Any] | None, str]:
    """Return what :func:`completed` returns, and a sentence that says why it is None."""
    try:
        done = _read_done(directory / DONE)
        if done["key"] != key:
            return None, f"{directory} was made from other inputs."
        listed, present = set(done["files"]), set(_files(directory))
        if listed != present:
            name = min(listed ^ present)
            return None, f"{directory / name} {'is missing' if name in listed else 'does not belong there'}."
        for name in sorted(listed):
            if _fingerprint(directory / name) != done["files"][name]:
                return None, f"{directory / name} is not what {DONE} says."
    except FileNotFoundError as error:
        return None, f"{error.filename} is missing."
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        return None, f"{directory} cannot be read: {error}."
    return done, ""


def sweep(root: Path) -> list[Path]:
    """Remove what dead processes left below ``root``, and put back a directory whose replacement they did not finish.

    Returns:
        The leftovers that were dealt with.
    """
    leftovers = []
    for folder, directories, files in os.walk(root):
        for name in [*directories, *files]:
            match = _LEFTOVER.fullmatch(name)
            if match and not _alive(match["owner"]):
                leftovers.append(Path(folder, name))
                _settle(leftovers[-1], match["name"], match["kind"])
        directories[:] = [name for name in directories if not _LEFTOVER.fullmatch(name)]
    return leftovers


@contextmanager
def run_directory(path: Path, *, resume: bool = False, fresh: bool = False) -> Iterator[Path]:
    """Claim a run directory for this process until the block ends; make it if there is none.

    Args:
        path: the directory.
        resume: go on with the run that it holds, if any.
        fresh: delete the run that it holds, if any; files of other making are never touched.

    Raises:
        OutputError: the path is a file, holds something that is not ours, holds a run (and neither ``resume`` nor
            ``fresh`` is given), is in use by another process, or cannot be written. Nothing is changed then.
        ResourceError: the disk is full or fails.
    """
    if resume and fresh:
        raise UsageError("--resume and --fresh exclude each other.", fix="Give one of them.")
    with claim(path):
        content = [entry for entry in sorted(path.iterdir()) if entry.name != MARKER]
        if content and not (resume or fresh):
            raise OutputError(
                f"{path} already holds a run.", fix="Go on with it by --resume, or begin again by --fresh."
            )
        for entry in content if fresh else ():
            _discard(entry)
        sweep(path)
        yield path


@contextmanager
def claim(path: Path) -> Iterator[Path]:
    """Hold the lock of a run directory, making the directory if there is none; errors as :func:`run_directory`."""
    _refuse_foreign(path)
    with _explained(path):
        path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path / MARKER, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        with _explained(path):
            _lock(descriptor, path)
            _rewrite(descriptor, _OURS + f"In use by {_owner()}\n".encode())
        try:
            yield path
        finally:
            with suppress(OSError):  # a stale owner in the text does no harm: the lock decides
                _rewrite(descriptor, _OURS)
    finally:
        os.close(descriptor)


def _refuse_foreign(path: Path) -> None:
    if not os.path.lexists(path):
        return
    if not path.is_dir():
        raise OutputError(f"{path} is a file, not a directory.", fix="Choose another output directory.")
    with _explained(path):
        names = os.listdir(path)
    if names and MARKER not in names:
        raise OutputError(f"{path} holds files that are not a run of edgekit.", fix="Choose a new or empty directory.")


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = re.search(rb"In use by (\d+)", os.pread(descriptor, 200, 0))
        who = f"process {owner[1].decode()}" if owner else "another process"
        raise OutputError(
            f"{path} is in use by {who}.", fix="Wait until it ends, or choose another directory."
        ) from error


def _rewrite(descriptor: int, data: bytes) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, data, 0)


def _seal(directory: Path, key: str) -> None:
    """Make everything in ``directory`` durable, then write DONE as the last file of it."""
    files = {name: _fingerprint(directory / name, durable=True) for name in _files(directory)}
    for folder, _, _ in os.walk(directory, topdown=False):
        _sync(Path(folder))
    _write(directory / DONE, json.dumps({"key": key, "files": files}, indent=1, sort_keys=True).encode())
    _sync(directory)


def _replace(temp: Path, final: Path) -> None:
    old = _temporary(final, "old") if os.path.lexists(final) else None
    if old:
        os.rename(final, old)
    try:
        os.rename(temp, final)
        _sync(final.parent)
    except BaseException:
        if not os.path.lexists(temp):
            os.rename(final, temp)
        if old:
            os.rename(old, final)
        raise
    if old:
        _discard(old)


def _settle(leftover: Path, name: str, kind: str) -> None:
    final = leftover.with_name(name)
    if kind == "old" and not os.path.lexists(final):
        with _explained(final):
            os.rename(leftover, final)
            _sync(final.parent)
    else:
        _discard(leftover)


def _files(directory: Path) -> list[str]:
    """Relative names of everything below ``directory`` but directories and its DONE, sorted."""
    paths = (path for path in directory.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted({path.relative_to(directory).as_posix() for path in paths} - {DONE})


def _fingerprint(path: Path, *, durable: bool = False) -> dict[str, str | int]:
    """Hash and size of a regular file; links and devices raise OSError unopened. ``durable`` also fsyncs it."""
    if not stat.S_ISREG(os.lstat(path).st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        digest, size = hashlib.sha256(), 0
        while block := os.read(descriptor, 1 << 20):
            digest.update(block)
            size += len(block)
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return {"sha256": digest.hexdigest(), "bytes": size}


def _read_done(path: Path) -> dict[str, Any]:
    found = os.lstat(path)
    if not stat.S_ISREG(found.st_mode) or found.st_size > _MAX_DONE:
        raise ValueError(f"{path} is not a file, or too long")
    done = json.loads(path.read_bytes())
    if not (isinstance(done, dict) and isinstance(done.get("files"), dict) and isinstance(done.get("key"), str)):
        raise ValueError(f"{path} is not a record of files")
    return done


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _discard(path: Path) -> None:
    """Remove a file or a tree as far as it goes; what stays behind is swept by the next run."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _temporary(path: Path, kind: str) -> Path:
    return path.with_name(f"{path.name}.{kind}-{_owner()}-{next(_serial)}")


def _owner() -> str:
    """Name the process among all of this machine, past ones included: number, start time in clock ticks, boot."""
    return f"{os.getpid()}-{_started(os.getpid())}-{_boot()}"


def _alive(owner: str) -> bool:
    pid, started, boot = owner.split("-")
    return started != "0" and boot == _boot() and _started(int(pid)) == int(started)


def _started(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:  # no such process, or a system without /proc, where every leftover counts as dead
        return 0


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    except OSError:
        return "0"


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn the system's errors into ours, naming ``path``."""
    try:
        yield
    except OSError as error:
        raise _typed(error, path) from error


def _typed(error: OSError, path: Path) -> EdgekitError:
    if error.errno in _EXHAUSTED:
        return ResourceError(f"{path} could not be written.", f"{error.strerror}.", "Free space or use another disk.")
    return OutputError(f"{path} cannot be written.", f"{error.strerror}.", "Choose another output directory.")
