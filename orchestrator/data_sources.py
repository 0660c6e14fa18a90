"""Where the rows of a spec are: files of this machine, of Cloud Storage, of datasets on the Hub."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from orchestrator.data_addresses import DatasetAddress, RemoteAddress, RemoteRows, parse_address
from orchestrator.dataset.rules import RowsFile, SplitName
from orchestrator.errors import InputError, OrchestratorError, Place
from orchestrator.name_patterns import has_wildcard
from orchestrator.spec import LoadedSpec


class Fetch(Protocol):
    """Finds files on the network and brings them here. Raises `InputError` or `RemoteError`."""

    def commit(self, address: DatasetAddress) -> str | None:
        """The commit that an address means now; None where it cannot be asked for (offline)."""
        ...

    def find(self, address: RemoteAddress) -> tuple[RemoteRows, ...]:
        """The files that an address with a fixed revision means, in the order of their names."""
        ...

    def bring(self, rows: RemoteRows) -> Path:
        """The file on this machine: from the cache, or fetched."""
        ...


@dataclass(frozen=True)
class RowsPart:
    """One file of the rows: `local` on this machine, or `remote`, fetched when it is opened.

    `place` is the field of the spec that named it.
    """

    name: str
    split: SplitName | None = None
    local: Path | None = None
    remote: RemoteRows | None = None
    place: Place | None = None

    def opened(self, fetch: Fetch | None) -> RowsFile:
        """The file on this machine."""
        if self.local is not None:
            return RowsFile(self.local, self.name, self.split)
        if self.remote is None or fetch is None:
            raise InputError(f"{self.name} is not on this machine, and nothing can fetch it")
        with _placed(self.place):
            return RowsFile(fetch.bring(self.remote), self.name, self.split)


@dataclass(frozen=True)
class RowsSource:
    """All files of the rows in their order. Those on the network come when their turn comes."""

    parts: tuple[RowsPart, ...]
    fetch: Fetch | None = None

    def iter_files(self) -> Iterator[RowsFile]:
        """Each file, brought here just before it is yielded."""
        for part in self.parts:
            yield part.opened(self.fetch)

    def files(self) -> tuple[RowsFile, ...]:
        """All files, all brought here."""
        return tuple(self.iter_files())


def resolve_source(
    loaded: LoadedSpec,
    override: Path | str | None = None,
    *,
    fetch: Fetch | None = None,
    label: Callable[[Path], str] = str,
) -> RowsSource:
    """The files with the rows: `override` (--data), or those of the spec.

    `label` words the names of the spec's own local files. Raises `InputError` with its place.
    """
    data = loaded.spec.data
    if override is not None:
        if data.split.files is not None:
            raise InputError(
                "--data names one file, and the spec names one for each split",
                where=loaded.place("data", "split", "files"),
                hint="Leave --data out, or give the splits as shares in a copy of the spec.",
            )
        return RowsSource(tuple(_given(override, fetch)), fetch)
    named: list[tuple[str, SplitName | None, tuple[str, ...]]] = []
    if data.path is not None:
        if data.split.files is not None:
            raise InputError(
                "the spec names its rows twice: `path` and `split.files`",
                where=loaded.place("data", "path"),
                hint="Keep one of them.",
            )
        named = [(data.path, None, ("data", "path"))]
    elif data.split.files is not None:
        for split, file in data.split.files:
            if file is not None:
                named.append((file, cast(SplitName, split), ("data", "split", "files", split)))
    if not named:
        raise InputError(
            "the spec names no data",
            where=loaded.place("data"),
            hint="Add `path:` under `data:`, or give --data FILE.",
        )
    parts = [
        part
        for text, split, place in named
        for part in _named(loaded, text, split, place, fetch, label)
    ]
    return RowsSource(tuple(parts), fetch)


def _given(override: Path | str, fetch: Fetch | None) -> Iterator[RowsPart]:
    """What --data means. Who reads a local file words what is wrong with it."""
    text = str(override)
    address = parse_address(text)
    if address is None:
        yield RowsPart(text, local=Path(override))
        return
    if isinstance(address, DatasetAddress) and not address.pinned:
        address = address.at(_commit(address, fetch, None))
    yield from _remote(address, None, fetch, None)


def _named(
    loaded: LoadedSpec,
    text: str,
    split: SplitName | None,
    path: tuple[str, ...],
    fetch: Fetch | None,
    label: Callable[[Path], str],
) -> Iterator[RowsPart]:
    """What a field of the spec means."""
    place = loaded.place(*path)
    try:
        address = parse_address(text)
    except InputError as error:
        raise InputError(error.message, where=place, hint=error.hint) from None
    if address is None:
        for file in _local(loaded.file.parent, text, place):
            yield RowsPart(label(file), split, local=file)
        return
    if isinstance(address, DatasetAddress) and not address.pinned:
        said = f"`{address.revision}`" if address.revision else "no revision"
        raise InputError(
            f"{text} names {said}, and what that means may change: a plan must be repeatable",
            where=place,
            hint=f"Pin the commit: {address.at(_commit(address, fetch, place))}",
        )
    yield from _remote(address, split, fetch, place)


def _commit(address: DatasetAddress, fetch: Fetch | None, place: Place | None) -> str:
    with _placed(place):
        commit = fetch.commit(address) if fetch is not None else None
    if commit is None:
        raise InputError(
            f"{address} names no commit, and offline nobody can say which one it means",
            where=place,
            hint=f"Write {address.at('COMMIT')}, with the 40 digits of a commit; without "
            "--offline, the newest is named.",
        )
    return commit


def _remote(
    address: RemoteAddress, split: SplitName | None, fetch: Fetch | None, place: Place | None
) -> Iterator[RowsPart]:
    if fetch is None:
        raise InputError(f"{address} is not on this machine", where=place)
    with _placed(place):
        found = fetch.find(address)
    if not found:
        raise InputError(
            f"nothing there has a name like {address}",
            where=place,
            hint="`*` stands for anything but `/`, `**` for any folders.",
        )
    for rows in found:
        yield RowsPart(rows.name, split, remote=rows, place=place)


@contextmanager
def _placed(place: Place | None) -> Iterator[None]:
    """Say which field led to an error of the network."""
    try:
        yield
    except OrchestratorError as error:
        error.where = error.where or place
        raise


def _local(folder: Path, text: str, place: Place) -> list[Path]:
    """The local files that a field means; a pattern only where no file has that very name."""
    file = folder / text
    hint = "The path is relative to the spec; or give --data FILE."
    try:
        if file.exists():
            if file.is_dir():
                raise InputError(f"{file} is a folder, not a file", where=place, hint=hint)
            return [file]
        found = (
            sorted(folder.glob(text)) if has_wildcard(text) and not Path(text).is_absolute() else []
        )
        files = [one for one in found if one.is_file()]
    except (OSError, ValueError) as error:  # no right to look, a name that no file can have
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"cannot read {file}: {reason}", where=place, hint=hint) from None
    if not files:
        raise InputError(f"there is no file {file}", where=place, hint=hint)
    return files
