"""Model folders on the Hugging Face hub: only the files of a model go there and come back, each checked by its hash."""

import glob
import re
import shutil
from pathlib import Path

from solfa.core.errors import InputError, WeightsError
from solfa.core.files import check_output, whole_folder
from solfa.core.registry import parse
from solfa.encoders.trained import check_file, read_description, tuned_folder
from solfa.weights.pulling import client, failures

_FILE = re.compile(rf"(?:(?:{tuned_folder('audio')}|{tuned_folder('text')})/)?\w[\w.,+=@()~ -]{{0,120}}")


def push(folder: Path, repo: str, *, private: bool = True) -> str:
    """Put a model folder on the Hugging Face hub, with its card; the address.

    Raises MissingExtra if ``huggingface_hub`` is not installed; InputError if a backbone is named by a path, which only
    this machine has; WeightsError if the folder is no model or damaged, or the hub refuses or cannot be reached.
    """
    described = read_description(folder)
    for kind in ("audio", "text"):
        name = str(described[kind]["backbone"])
        source = Path(parse(name)[1]).expanduser()
        if source.is_absolute() or (source.name and source.exists()):
            raise InputError(
                f"{folder} runs on {name!r}, which only this machine has; the path would be published. Train on "
                f"a backbone by its name on the hub, or --tune it: a tuned backbone travels with the model."
            )
    wanted = [glob.escape(name) for name in ("model.json", "README.md", *_checked(folder))]
    hub = client("the Hugging Face hub")
    try:
        api = hub.HfApi()
        api.create_repo(repo, private=private, exist_ok=True)
        sent = api.upload_folder(
            repo_id=repo, folder_path=str(folder), commit_message="solfa model", allow_patterns=wanted
        )
    except (*failures(hub), hub.errors.HFValidationError) as error:
        raise WeightsError(f"the hub did not take {folder} as {repo!r}: {error}") from error
    return str(sent)


def pull(repo: str, folder: Path, *, revision: str | None = None) -> Path:
    """Fetch a model folder from the Hugging Face hub, whole or not at all; only the files that ``model.json`` names.

    Raises InputError if ``folder`` exists; MissingExtra if ``huggingface_hub`` is not installed; WeightsError
    if the hub does not have it or cannot be reached, or what came is no model.
    """
    check_output(folder, force=True, folder=True)
    if folder.exists():
        raise InputError(f"{folder} exists already; choose another folder.")
    hub = client("the Hugging Face hub")
    try:
        with whole_folder(folder) as scratch:
            given = {"revision": revision, "local_dir": str(scratch)}
            hub.snapshot_download(repo, allow_patterns=["model.json", "README.md"], **given)
            wanted = [glob.escape(name) for name in _named(scratch)]
            hub.snapshot_download(repo, allow_patterns=wanted, **given)
            shutil.rmtree(scratch / ".cache", ignore_errors=True)  # the hub client's own notes
            _checked(scratch)
    except (*failures(hub), hub.errors.HFValidationError, OSError) as error:
        reason = (str(error) or repr(error)).splitlines()[0]
        raise WeightsError(f"{repo!r} could not be fetched into {folder}: {reason}") from error
    return folder


def _checked(folder: Path) -> list[str]:
    named = _named(folder)
    for name, sha256 in named.items():
        check_file(folder / name, sha256)
    return list(named)


def _named(folder: Path) -> dict[str, str]:
    """The files that ``model.json`` names and their hashes: in it or in a tuned backbone's folder, nowhere else."""
    named = {name: str(sha256) for name, sha256 in read_description(folder)["sha256"].items()}
    for name in named:
        if not _FILE.fullmatch(name):
            raise WeightsError(f"{folder / 'model.json'} names {name!r}; not a file of a model.")
    return named
