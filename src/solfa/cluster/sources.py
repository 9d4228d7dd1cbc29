"""Music in object stores and on servers: every URL that fsspec knows (``s3://``, ``gs://``, ``abfs://``, ``sftp://``).

The address of an object is the path of its track. Names and sizes come from the listing; a worker fetches an object
into a nameless file on its own disk, which is gone with the process, and decodes that.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from datetime import datetime
from hashlib import blake2b
from posixpath import splitext
from tempfile import TemporaryFile
from typing import IO, Any
from urllib.parse import urlsplit

from solfa.audio import SUFFIXES, Limits
from solfa.collection.scan import NO_AUDIO, FileSource, Scan, Walk
from solfa.core.errors import DecodeError, FileUnavailable, InputError, need
from solfa.core.files import is_url, path_of
from solfa.jobs import heartbeat

_LISTERS = 32  # folders listed at a time
_DEEPEST = 64  # folders below a given one; links may go round in a circle
_BLOCK = 4 << 20  # bytes fetched at a time
_PATIENCE_S, _LEAST_BYTES_PER_S = 60.0, 20_000  # a store that sends less than this, after the first minute, is left
# What stores call the version of an object, the surest first.
_VERSIONS = ("ETag", "etag", "md5Hash", "LastModified", "last_modified", "updated", "mtime", "modified", "created")


class RemoteFiles(FileSource):
    """Files of this machine, and objects in stores by URL.

    Addresses of servers and credentials are taken as fsspec and each store's own client take them: from environment
    variables, configuration files, or the role of the machine; never from the URL. ``scan`` also raises what
    ``open_store`` raises.
    """

    def _walk(self) -> Walk:
        return _RemoteWalk()

    def state(self, path: str) -> tuple[int, int]:
        """Size in bytes, and a hash of the version that the store gives, such as the ETag; as ``FileSource`` says."""
        if not is_url(path):
            return super().state(path)
        with _told(path):
            store, name = open_store(path)
            found = _state(store.info(name))
        if found is None:
            raise FileUnavailable(path, "its store does not say how large it is")
        return found

    @contextmanager
    def local(self, path: str, size: int, limits: Limits) -> Iterator[str]:
        """As ``FileSource`` says: a copy on the disk of ``TMPDIR``."""
        if not is_url(path):
            yield path
            return
        if size > limits.size_bytes:
            raise DecodeError(path, f"{size / 2**30:.1f} GiB is over the limit of {limits.size_bytes / 2**30:.1f} GiB")
        with ExitStack() as stack:
            with _told(path):
                copy = stack.enter_context(TemporaryFile())
                _fetch(path, copy, size)
            yield f"/dev/fd/{copy.fileno()}"


def open_store(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the name in it; listings are never taken from its memory.

    Raises InputError for a URL that names no bucket or host, holds a password, is chained or of no known kind;
    MissingExtra without fsspec.
    """
    if not urlsplit(url).netloc or "::" in url or urlsplit(url).password is not None:
        raise InputError(f"{url.rpartition('@')[2]}: expected a URL with a bucket or host and no password, such as "
                         f"s3://bucket/folder; files of this machine are given by their path.")  # fmt: skip
    core = need("fsspec.core", f"{urlsplit(url).scheme}://", "pip install 'solfa[cluster]'")
    try:
        store, name = core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise InputError(f"{url} cannot be used: {error}") from error
    store.dircache.use_listings_cache = False
    return store, name


def _fetch(url: str, copy: IO[bytes], size: int) -> None:
    store, name = open_store(url)
    started_s, fetched = time.monotonic(), 0
    with store.open(name, "rb", cache_type="none") as remote:
        while fetched < size and (block := remote.read(_BLOCK)):
            copy.write(block)
            fetched += len(block)
            heartbeat()
            if time.monotonic() - started_s > _PATIENCE_S + fetched / _LEAST_BYTES_PER_S:
                raise FileUnavailable(url, f"comes at less than {_LEAST_BYTES_PER_S // 1000} kB a second")
    if fetched != size:
        raise FileUnavailable(url, f"{fetched} of {size} bytes came")
    copy.flush()


@contextmanager
def _told(url: str) -> Iterator[None]:
    """What a store raises, which may be anything its clients raise, as FileUnavailable; a package that this node lacks
    too."""
    try:
        yield
    except FileUnavailable:
        raise
    except Exception as error:  # marked edge: clients of stores have no common class of errors
        raise FileUnavailable(url, _reason(error)) from error


def _reason(error: BaseException) -> str:
    said = " ".join(str(error).split())[:200] or type(error).__name__
    return "not found" if isinstance(error, FileNotFoundError) else f"the store failed: {said}"


def _state(info: Mapping[str, Any]) -> tuple[int, int] | None:
    version = next((info[name] for name in _VERSIONS if info.get(name)), "")
    version = str(version.timestamp() if isinstance(version, datetime) else version).strip('"')
    number = int.from_bytes(blake2b(version.encode(), digest_size=8).digest()) >> 1  # as the database holds it
    return None if info.get("size") is None else (int(info["size"]), number)


class _RemoteWalk(Walk):
    """A walk that lists folders of stores in threads."""

    def visit(self, root: str) -> None:
        """Take in an object, or all below a folder of a store; paths of this machine as ever."""
        if not is_url(root):
            super().visit(root)
            return
        store, top = open_store(root)
        root, top, before = root.rstrip("/"), top.rstrip("/"), len(self.found)
        self._roots.append(root)
        folders, listing = [top], dict[Future[Any], str]()
        with ThreadPoolExecutor(_LISTERS) as pool:
            while folders or listing:
                while folders and len(listing) < 2 * _LISTERS:
                    folder = folders.pop()
                    listing[pool.submit(store.ls, folder, detail=True)] = folder
                for future in wait(listing, return_when=FIRST_COMPLETED).done:
                    folder = listing.pop(future)
                    if (error := future.exception()) is not None:
                        self.blind[root + folder.removeprefix(top)] = f"cannot be listed ({_reason(error)})"
                    else:
                        folders += self._folders(root, top, folder, future.result())
        if len(self.found) == before and root not in self.blind:
            self.blind[root] = NO_AUDIO

    def compared(self, known: Iterable[str]) -> Scan:
        """What was found, against the paths that were known before. Those that were not listed are looked up one by
        one: a listing may be older than what it lists."""
        known = list(known)
        roots = {path: self.root_of(path) for path in known if is_url(path) and path not in self.found}
        unlisted = [path for path, root in roots.items() if root and not self.in_doubt(path, root)]
        with ThreadPoolExecutor(_LISTERS) as pool:
            for path, state in zip(unlisted, pool.map(self._look, unlisted), strict=True):
                if isinstance(state, tuple):
                    self.found[path] = state
                elif state:
                    self.blind[path.rpartition("/")[0]] = state
        return super().compared(known)

    def in_doubt(self, path: str, root: str) -> bool:
        """As a walk on disk; a given object that is not there may be in a bucket that is not there."""
        return (is_url(path) and path == root) or super().in_doubt(path, root)

    def _folders(self, root: str, top: str, folder: str, entries: Iterable[Mapping[str, Any]]) -> Iterator[str]:
        """The folders among the entries of one; files are taken in."""
        for entry in entries:
            name, kind = str(entry["name"]).rstrip("/"), entry.get("type")
            url, last = root + name.removeprefix(top), name.rpartition("/")[2]
            if name == folder and kind == "directory" and entry["name"] != folder:
                self.blind[f"{url}/"] = "a folder without a name is left out; no path can name it"
            elif name == top and kind == "file":
                self._take(url, entry)
            elif not name.startswith(f"{folder}/") or last.startswith("."):
                continue
            elif kind == "directory":
                if url.count("/") - root.count("/") > _DEEPEST:
                    self.blind[url] = "folders are nested too deep"
                else:
                    yield name
            elif kind == "file" and splitext(last)[1].lower() in SUFFIXES:
                self._take(url, entry)

    def _take(self, url: str, entry: Mapping[str, Any]) -> None:
        state = _state(entry) or self._look(url)
        if str(path_of(url)) != url:
            self.blind[url] = "cannot be kept as a path; give it a name without empty parts"
        elif isinstance(state, tuple):
            self.found[url] = state
        elif state:
            self.blind[url] = state

    def _look(self, path: str) -> tuple[int, int] | str:
        """The state of an object; "" if it is gone, else why that is not known."""
        try:
            return RemoteFiles().state(path)
        except FileUnavailable as error:
            return "" if isinstance(error.__cause__, FileNotFoundError) else error.reason
