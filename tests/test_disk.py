"""What disk.py promises: old or new at every instant, one owner, nothing of others touched, typed failures."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from edgekit import disk
from edgekit.errors import OutputError, ResourceError, UsageError

CALLS = ("open", "write", "fsync", "rename", "mkdir")  # every call of the system that changes the disk


def snapshot(root: Path) -> dict[str, bytes | None]:
    return {str(p.relative_to(root)): p.read_bytes() if p.is_file() else None for p in sorted(root.rglob("*"))}


def stage(final: Path, key: str, content: bytes) -> None:
    with disk.commit(final, key) as temp:
        (temp / "deep").mkdir()
        disk.write_file(temp / "deep" / "a.bin", content)
        disk.write_file(temp / "b.bin", content[::-1])


def leftovers(root: Path) -> list[str]:
    return [name for name in snapshot(root) if ".tmp-" in name or ".old-" in name]


def fail_nth(monkeypatch: pytest.MonkeyPatch, n: int, code: int) -> Callable[[], bool]:
    """Make the n-th call of CALLS fail once with ``code``; returns whether it came to that."""
    calls = 0

    def wrap(real: Callable[..., object]) -> Callable[..., object]:
        def wrapped(*args: object, **kwargs: object) -> object:
            nonlocal calls
            calls += 1
            if calls == n:
                raise OSError(code, os.strerror(code), str(args[0]))
            return real(*args, **kwargs)

        return wrapped

    for name in CALLS:
        monkeypatch.setattr(os, name, wrap(getattr(os, name)))
    return lambda: calls >= n


def test_write_file_replaces_the_whole_content(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    disk.write_file(path, b"a longer text")
    disk.write_file(path, b"short")
    assert snapshot(tmp_path) == {"a.txt": b"short"}


def test_a_stage_is_completed_only_for_its_key(tmp_path: Path) -> None:
    final = tmp_path / "01-train"
    stage(final, "key", b"content")
    done = disk.completed(final, "key")
    assert done is not None
    assert set(done["files"]) == {"deep/a.bin", "b.bin"}
    assert done["files"]["b.bin"]["bytes"] == 7
    assert disk.completed(final, "other") is None
    assert "other inputs" in disk.examine(final, "other")[1]
    assert leftovers(tmp_path) == []


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        stage(tmp_path / name / "s", "key", b"content")
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "two")


TAMPERING: dict[str, Callable[[Path], object]] = {
    "a bit flipped": lambda d: (d / "b.bin").write_bytes(b"\x00" + (d / "b.bin").read_bytes()[1:]),
    "a byte more": lambda d: (d / "b.bin").write_bytes((d / "b.bin").read_bytes() + b"x"),
    "a file missing": lambda d: (d / "deep" / "a.bin").unlink(),
    "a file more": lambda d: (d / "deep" / "c.bin").write_bytes(b""),
    "a DONE in a folder": lambda d: (d / "deep" / "DONE").write_bytes(b"{}"),
    "a link in a file's place": lambda d: ((d / "b.bin").rename(d.parent / "b"), (d / "b.bin").symlink_to("../b")),
    "a link more": lambda d: (d / "link").symlink_to("b.bin"),
    "a pipe": lambda d: ((d / "b.bin").unlink(), os.mkfifo(d / "b.bin")),
    "no DONE": lambda d: (d / "DONE").unlink(),
    "DONE a pipe": lambda d: ((d / "DONE").unlink(), os.mkfifo(d / "DONE")),
    "DONE cut": lambda d: (d / "DONE").write_bytes((d / "DONE").read_bytes()[:-9]),
    "DONE empty": lambda d: (d / "DONE").write_bytes(b""),
    "DONE a list": lambda d: (d / "DONE").write_bytes(b"[]"),
    "DONE deep": lambda d: (d / "DONE").write_bytes(b"[" * 100_000),
    "DONE without files": lambda d: (d / "DONE").write_bytes(b'{"key": "key"}'),
    "DONE not text": lambda d: (d / "DONE").write_bytes(b"\xff\xfe\x00"),
    "DONE names others": lambda d: (d / "DONE").write_text(
        json.dumps({"key": "key", "files": {**json.loads((d / "DONE").read_text())["files"], "../x": {}}})
    ),
}


@pytest.mark.parametrize("tampering", TAMPERING)
def test_a_tampered_stage_counts_as_absent(tmp_path: Path, tampering: str) -> None:
    final = tmp_path / "s"
    stage(final, "key", b"content")
    assert disk.completed(final, "key")
    TAMPERING[tampering](final)
    done, why = disk.examine(final, "key")
    assert done is None
    assert str(final) in why


def test_an_error_in_the_block_leaves_the_old_stage(tmp_path: Path) -> None:
    final = tmp_path / "s"
    stage(final, "old", b"old")
    before = snapshot(tmp_path)
    with pytest.raises(KeyboardInterrupt), disk.commit(final, "new") as temp:  # noqa: PT012  the block is the subject
        (temp / "x").write_bytes(b"half")
        raise KeyboardInterrupt
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("replacing", [False, True])
def test_every_failing_call_of_a_commit_leaves_old_or_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, replacing: bool
) -> None:
    for n in range(1, 200):
        root = tmp_path / str(n)
        root.mkdir()
        final = root / "s"
        if replacing:
            stage(final, "old", b"old")
        before = snapshot(root)
        with monkeypatch.context() as patch:
            failed = fail_nth(patch, n, code)
            with suppress(ResourceError):
                stage(final, "new", b"new content")
            hit = failed()
        # Only the removal of the replaced stage may stay unfinished: the next run sweeps it.
        assert leftovers(root) == [] or (replacing and disk.completed(final, "new"))
        if not hit:
            assert disk.completed(final, "new")
            assert n > 25, "a commit of two files makes more calls than that"
            return
        assert snapshot(root) == before or disk.completed(final, "new")
    pytest.fail("the commit never came to its end")


def test_every_failing_call_of_write_file_leaves_old_or_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    for n in range(1, 50):
        disk.write_file(path, b"old")
        with monkeypatch.context() as patch:
            failed = fail_nth(patch, n, errno.ENOSPC)
            with suppress(ResourceError):
                disk.write_file(path, b"new")
            hit = failed()
        assert snapshot(tmp_path) in ({"a": b"old"}, {"a": b"new"})
        if not hit:
            assert n > 5
            return
    pytest.fail("the write never came to its end")


def test_a_full_disk_is_named_and_exits_with_7(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_nth(monkeypatch, 3, errno.ENOSPC)
    with pytest.raises(ResourceError, match=r"a could not be written\. No space left on device") as caught:
        disk.write_file(tmp_path / "a", b"new")
    assert caught.value.exit_code == 7


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:3]))
    disk.write_file(tmp_path / "a", b"0123456789")
    assert (tmp_path / "a").read_bytes() == b"0123456789"


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_place_that_cannot_be_written_is_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    fail_nth(monkeypatch, 1, code)
    with pytest.raises(OutputError) as caught, disk.run_directory(tmp_path / "new"):
        pass
    assert caught.value.exit_code == 2
    assert snapshot(tmp_path) == {}


WORK = """
import sys
from pathlib import Path
from edgekit import disk
root = Path(sys.argv[1])
print("ready", flush=True)
for turn in range(1_000_000):
    with disk.commit(root / "s", "key") as temp:
        for name in "abc":
            disk.write_file(temp / name, str(turn).encode() * 2000)
"""


def test_sigkill_at_random_moments_leaves_a_whole_stage(tmp_path: Path) -> None:
    moments = random.Random(0)
    interrupted = 0
    stage(tmp_path / "s", "key", b"first")
    for _ in range(12):
        child = subprocess.Popen([sys.executable, "-c", WORK, str(tmp_path)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(moments.uniform(0.0, 0.1))
        child.send_signal(signal.SIGKILL)
        child.communicate()
        interrupted += bool(disk.sweep(tmp_path))
        assert disk.examine(tmp_path / "s", "key")[1] == ""
        assert os.listdir(tmp_path) == ["s"]
    print(f"{interrupted} of 12 kills hit a commit in progress")
    assert interrupted >= 1


@pytest.mark.parametrize("calls", range(1, 12))
def test_a_death_between_the_renames_is_mended(tmp_path: Path, calls: int) -> None:
    """Die at the n-th rename or fsync of a replacement: these are the moments at which the disk changes hands."""
    stage(tmp_path / "s", "old", b"old")
    die = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_disk import stage
left = {calls}
def dying(real):
    def wrapped(*a):
        global left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*a)
    return wrapped
os.rename, os.fsync = dying(os.rename), dying(os.fsync)
stage(Path({str(tmp_path)!r}) / "s", "new", b"new")
"""
    subprocess.run([sys.executable, "-c", die], check=False)
    disk.sweep(tmp_path)
    assert disk.completed(tmp_path / "s", "old") or disk.completed(tmp_path / "s", "new")
    assert os.listdir(tmp_path) == ["s"]


def test_sweep_spares_the_living_and_strangers(tmp_path: Path) -> None:
    with disk.commit(tmp_path / "s", "key") as temp:
        (temp / "a").write_bytes(b"a")
        (tmp_path / "notes.tmp").write_bytes(b"")
        (tmp_path / "b.tmp-999999999-1-abcdef12-0").write_bytes(b"")
        assert disk.sweep(tmp_path) == [tmp_path / "b.tmp-999999999-1-abcdef12-0"]
        assert temp.exists()
    assert sorted(os.listdir(tmp_path)) == ["notes.tmp", "s"]


def test_a_run_directory_is_made_and_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "a"
    with disk.run_directory(path) as claimed:
        disk.write_file(claimed / "run.json", b"{}")
    first = snapshot(path)
    with pytest.raises(OutputError, match=r"--resume.*--fresh"), disk.run_directory(path):
        pass
    assert snapshot(path) == first
    with disk.run_directory(path, resume=True):
        assert (path / "run.json").exists()
    assert snapshot(path) == first, "the marker must not tell one run from another"
    with disk.run_directory(path, fresh=True):
        assert not (path / "run.json").exists()
    with pytest.raises(UsageError), disk.run_directory(path, resume=True, fresh=True):
        pass


def _file(path: Path) -> None:
    path.write_bytes(b"mine")


def _folder(path: Path) -> None:
    path.mkdir()
    (path / "thesis.tex").write_bytes(b"mine")


def _dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def _pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("make", [_file, _folder, _dangling, _pipe])
@pytest.mark.parametrize("options", [{}, {"resume": True}, {"fresh": True}])
def test_what_is_not_ours_is_refused_and_untouched(
    tmp_path: Path, make: Callable[[Path], None], options: dict[str, bool]
) -> None:
    make(tmp_path / "out")
    before = snapshot(tmp_path)
    with pytest.raises(OutputError) as caught, disk.run_directory(tmp_path / "out", **options):
        pass
    assert caught.value.exit_code == 2
    assert snapshot(tmp_path) == before


def test_a_file_on_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(OutputError), disk.run_directory(tmp_path / "file" / "run"):
        pass
    assert snapshot(tmp_path) == {"file": b"mine"}


def test_a_second_process_is_told_who_has_it(tmp_path: Path) -> None:
    again = f"""
import sys
from pathlib import Path
from edgekit import disk
from edgekit.errors import OutputError
try:
    with disk.run_directory(Path({str(tmp_path / "a")!r}), fresh=True):
        sys.exit("both hold it")
except OutputError as error:
    assert "process {os.getpid()}" in str(error), error
"""
    with disk.run_directory(tmp_path / "a"):
        disk.write_file(tmp_path / "a" / "run.json", b"{}")
        subprocess.run([sys.executable, "-c", again], check=True)
        assert (tmp_path / "a" / "run.json").exists()
        with pytest.raises(OutputError), disk.claim(tmp_path / "a"):
            pass


def test_a_killed_owner_lets_go(tmp_path: Path) -> None:
    hold = f"""
from pathlib import Path
from edgekit import disk
with disk.run_directory(Path({str(tmp_path / "a")!r})) as path, disk.commit(path / "s", "key"):
    print("ready", flush=True)
    input()
"""
    child = subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    assert leftovers(tmp_path / "a") != []
    child.kill()
    child.communicate()
    with disk.run_directory(tmp_path / "a", resume=True):
        assert leftovers(tmp_path / "a") == []
    assert os.listdir(tmp_path / "a") == [disk.MARKER]
