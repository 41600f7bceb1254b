"""Files that are either whole or absent: everything is written beside its target, then renamed.

What is being written lies in a hidden folder that names its process. What a killed process has left
of that kind goes when another writes in the same place.
"""

import csv
import io
import os
import platform
import secrets
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from errno import EISDIR
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

ATTEMPTS = 32
"""To make a folder in one that others may remove."""

UNFINISHED = f".lord-{blake2b(platform.node().encode(), digest_size=3).hexdigest()}"
"""How the folders begin in which this machine writes."""

COMMITTED, REMOVED = ".lord-committed", ".removed"
"""The files of `replacing_together` while they move, and the ending of those that go."""

LOCK = ".lord.lock"

PATIENCE = 10.0
"""Seconds to wait for others who have a folder for a moment."""


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path that replaces ``path`` if the block succeeds; its folders are made.

    Raises:
        OSError: it cannot be written; one line names it. What was there before is kept.
    """
    path = Path(path)
    try:
        with _unfinished(path.parent) as folder:
            temporary = folder / path.name
            yield temporary
            temporary.chmod(_usual_mode(folder))
            temporary.replace(path)
    except OSError as error:
        raise _unwritten(path, error) from error


def _usual_mode(folder: Path) -> int:
    """The mode of files as the umask says, which a new folder tells; some writers take another."""
    return folder.stat().st_mode & 0o666


@contextmanager
def replacing_together(folder: str | Path, names: Collection[str] = ()) -> Iterator[Path]:
    """A temporary folder whose files, at any depth, replace those of the same names, all or none.

    Files of ``names`` that the block does not write are gone afterwards. If the process dies while
    the files move, `settle` moves the rest; who reads them calls it first.

    Raises:
        OSError: they cannot be written; one line names the folder, where all is as it was.
    """
    folder = Path(folder)
    try:
        with _unfinished(folder) as temporary:
            yield temporary
            for name in names:
                if not (temporary / name).exists():
                    (temporary / f"{name}{REMOVED}").touch()
            mode = _usual_mode(temporary)
            for path in _files_in(temporary):
                path.chmod(mode)
            settle(folder)
            temporary.replace(folder / COMMITTED)
        settle(folder)
    except OSError as error:
        raise _unwritten(folder, error) from error


def settle(folder: str | Path) -> None:
    """Finish what a `replacing_together` has begun that was killed after it had written all."""
    committed = Path(folder) / COMMITTED
    if not committed.is_dir():
        return
    for path in _files_in(committed):
        target = committed.parent / path.relative_to(committed)
        with suppress(FileNotFoundError):  # where another process settles, too
            if path.suffix == REMOVED:
                target.with_suffix("").unlink(missing_ok=True)
                path.unlink()
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                path.replace(target)
    shutil.rmtree(committed, ignore_errors=True)


def _files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@contextmanager
def reserved(folder: str | Path, share: str | None = None) -> Iterator[None]:
    """Keep other processes that ask for it out of a folder, which is made and can be written to.

    Nothing is left of a folder that was made here and stays empty.

    Args:
        share: reserve this share of the folder alone. Others may have other shares at the same
            time, and nobody has the whole.

    Raises:
        ValueError: another process has reserved it.
        OSError: nothing can be written there; one line names it.
    """
    folder = Path(folder)
    with _made(folder):
        if share is None:
            with _held(folder / LOCK):
                for path in folder.glob(f"{LOCK}-*"):  # somebody's share, or left by the killed
                    with _held(path):
                        pass
                yield
        else:
            with ExitStack() as stack:
                with turn(folder):
                    stack.enter_context(_held(folder / f"{LOCK}-{share}"))
                yield


@contextmanager
def turn(folder: Path) -> Iterator[None]:
    """Have a folder that is reserved in shares for a moment, and wait for it if others have it.

    Raises:
        ValueError: somebody has reserved the whole.
        OSError: nothing can be written there.
    """
    last = time.monotonic() + PATIENCE
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(_held(folder / LOCK))
                break
            except ValueError:
                if time.monotonic() > last:
                    raise
                time.sleep(0.02)
        yield


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Hold a lock file, which is gone afterwards."""
    lock = _locked(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(lock)


def require_writable(path: str | Path) -> None:
    """Find out that a file cannot be written before there is something to write.

    Nothing is left of the attempt.

    Raises:
        OSError: it cannot be written; one line names it.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise IsADirectoryError(EISDIR, os.strerror(EISDIR))
        with _made(path.parent), _unfinished(path.parent) as folder:
            (folder / path.name).write_bytes(b"lord")
    except OSError as error:
        raise _unwritten(path, error) from error


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make a folder and those above it; those that are empty afterwards go again."""
    missing: list[Path] = []
    try:
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        _make(folder)
    except OSError as error:
        raise _unwritten(folder, error) from error
    try:
        yield
    finally:
        with suppress(OSError):  # another process may have come, or have removed it
            for path in missing:
                path.rmdir()


def _locked(path: Path) -> int:
    """A lock file of a folder, open, written to and locked."""
    from filelock import lock_descriptor

    lock = -1
    try:
        lock = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
        # A file that is gone is that of a process about to end.
        if lock_descriptor(lock, blocking=False) and os.fstat(lock).st_nlink:
            os.write(lock, b"lord")
            return lock
    except OSError as error:
        if lock >= 0:
            os.close(lock)
        raise _unwritten(path.parent, error) from error
    os.close(lock)
    raise ValueError(
        f"{path.parent}: another command is writing there. Let it end, or give another folder."
    )


@contextmanager
def _unfinished(parent: Path) -> Iterator[Path]:
    _sweep(parent.absolute())
    folder = parent / f"{UNFINISHED}-{os.getpid()}-{secrets.token_hex(4)}"
    _make(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _make(folder: Path) -> None:
    """Make a folder and those above it, though others may remove what is empty meanwhile."""
    for left in reversed(range(ATTEMPTS)):
        try:
            return folder.mkdir(parents=True, exist_ok=True)
        except (FileNotFoundError, FileExistsError):
            if not left:
                raise


@lru_cache(maxsize=1024)
def _sweep(folder: Path) -> None:
    """Remove what killed processes have left, once per process."""
    for path in folder.glob(f"{UNFINISHED}-*-*"):
        owner = path.name.split("-")[2]
        if owner.isdecimal() and not _runs(int(owner)):
            shutil.rmtree(path, ignore_errors=True)


def _runs(process: int) -> bool:
    if os.name != "posix":
        return True  # no way to ask that does no harm
    try:
        os.kill(process, 0)  # asks whether there is such a process
    except PermissionError:
        return True
    except ProcessLookupError:
        return False
    return True


def _unwritten(path: Path, error: OSError) -> OSError:
    first = error
    while isinstance(first.__cause__, OSError):  # the inner of two that write in one another
        first = first.__cause__
    return OSError(f"{path}: cannot be written ({first.strerror or first}); what was there is kept")


def read_text(path: Path) -> str:
    """UTF-8 text, without the mark that editors on Windows begin it with.

    Raises:
        OSError, ValueError: there is no such file, or it is no text; the message names it.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text. Save it as UTF-8.") from error
    if "\0" in text:
        raise ValueError(f"{path}: not UTF-8 text. Save it as UTF-8.")
    return text


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a CSV file with a line of names.

    Raises:
        OSError, ValueError: it is none; the message names it.
    """
    try:
        return list(csv.DictReader(io.StringIO(read_text(path), newline="")))
    except csv.Error as error:
        raise ValueError(f"{path}: not a CSV file ({error})") from error


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write bytes atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, text.encode())
