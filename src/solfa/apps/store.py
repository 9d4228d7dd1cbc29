"""``solfa collection``: collections in Lance stores, their versions, and search over shards of them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Annotated

import typer

from solfa.apps.options import JsonOption, ModelOption, NoncommercialOption, default_collection
from solfa.apps.terminal import SOME_FAILED, print_json, show, tell
from solfa.core.errors import InputError

collection_app = typer.Typer(
    no_args_is_help=True, help="Copy collections to and from Lance stores, keep versions of them, search in shards."
)
_EVERY_S = 30.0
StoreArgument = Annotated[str, typer.Argument(help="lance://FOLDER or lance+s3://BUCKET/KEY, perhaps with @VERSION.")]


@contextmanager
def into(collection: str | None) -> Iterator[Path]:
    """The folder to index into; of a store what is indexed is committed every half a minute, and at the end."""
    if not (collection and collection.startswith("lance")):
        yield Path(collection) if collection else default_collection()
        return
    from solfa.cluster.lance_store import LanceStore

    store, done = LanceStore(collection), Event()

    def publishing() -> None:
        while not done.wait(_EVERY_S):
            store.publish()

    folder = store.working()
    with ThreadPoolExecutor(1) as beside:
        published = beside.submit(publishing)
        try:
            yield folder
        finally:
            done.set()
            published.result()
            store.publish()
            tell(f"{collection} is at version {store.versions()[-1]['version']}")


@collection_app.command()
def copy(
    source: Annotated[str, typer.Argument(help="Folder of a collection, or a store (lance://FOLDER@VERSION).")],
    target: Annotated[str, typer.Argument(help="The other of the two: a store, or a folder that does not exist.")],
) -> None:
    """Copy a collection without loss: a folder to a store, as a new version of it, or a store to a new folder."""
    from solfa.cluster.lance_store import LanceStore, is_store

    if is_store(source) == is_store(target):
        raise InputError(f"one is to be a store (lance://...), the other a folder; got {source} and {target}.")
    if is_store(target):
        tell(f"{source} is version {LanceStore(target).copy_from(Path(source))} of {target}")
    else:
        LanceStore(source).copy_to(Path(target))
        tell(f"copied to {target}")


@collection_app.command()
def versions(
    store: StoreArgument,
    name: Annotated[str, typer.Option(help="Keep the version under this name; 'compact' does not delete it.")] = "",
    as_json: JsonOption = False,
) -> None:
    """List the versions of a store, or name one; every command reads an older one at STORE@VERSION."""
    from solfa.cluster.lance_store import LanceStore

    if name:
        LanceStore(store).name(name)
    found = LanceStore(store).versions()
    if as_json:
        print_json(found)
    for one in [] if as_json else found:
        typer.echo(f"{one['version']:6}  {one['time']}  {' '.join(one['names'])}".rstrip())


@collection_app.command()
def compact(
    store: StoreArgument,
    keep_days: Annotated[float, typer.Option(min=0, help="Delete versions without a name that are older.")] = 30.0,
) -> None:
    """Join the small files of a store, and delete old versions."""
    from solfa.cluster.lance_store import LanceStore

    print_json(LanceStore(store).compact(keep_days))


@collection_app.command()
def search(
    store: StoreArgument,
    query: Annotated[list[str], typer.Argument(help="What you are looking for.")],
    where: Annotated[list[str] | None, typer.Option("--where", help="Exact filter, repeatable.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many hits.")] = 10,
    shards: Annotated[int, typer.Option(min=1, help="Parts that the tracks are divided into.")] = 2,
    replicas: Annotated[int, typer.Option(min=1, help="Actors that hold each part.")] = 1,
    cpus: Annotated[
        float | None, typer.Option(min=0, help="Share of a CPU that Ray keeps for each actor (default: what there is).")
    ] = None,
    ray: Annotated[str, typer.Option(help="HOST:PORT of a Ray cluster (default: on this machine).")] = "",
    model: ModelOption = None,
    allow_noncommercial: NoncommercialOption = False,
    as_json: JsonOption = False,
) -> None:
    """Search over shards of a store in a Ray cluster. Exit code 3: a shard did not answer, which the answer says."""
    from solfa.api import read_query
    from solfa.apps.render import results_text
    from solfa.cluster.shards import ShardedSearcher
    from solfa.query import parse_where
    from solfa.retrieval import Display
    from solfa.serve.documents import results_json

    searcher = ShardedSearcher(store, shards, replicas=replicas, cpus=cpus, ray=ray, model=model,
                               allow_noncommercial=allow_noncommercial)  # fmt: skip
    filters = [parse_where(one) for one in where or []]
    results = searcher.search(read_query(" ".join(query)), where=filters, display=Display(k=k))
    print_json(results_json(results)) if as_json else show(results_text(results))
    if searcher.missing:
        raise typer.Exit(SOME_FAILED)
