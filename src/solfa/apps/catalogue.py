"""``solfa models list``: every model and analysis tool, its terms, and whether it is here."""

from dataclasses import asdict
from typing import Any

from rich.table import Table
from rich.text import Text

from solfa.analysis.registry import extractor_specs
from solfa.encoders.registry import available, available_backbones
from solfa.weights import models, pulled

# What the first command of the README fetches: the default model's text tower. The rest ships with the package.
DEFAULT_WEIGHTS = ("minilm",)


def catalogue_json() -> list[dict[str, Any]]:
    """One entry per joint model, backbone, weights file and extractor."""
    rows: list[dict[str, Any]] = []
    for kind, infos in (("", available()), ("", available_backbones()), ("weights", models())):
        for info in infos:
            here = {"here": pulled(info.name)} if kind == "weights" else {}
            rows.append({**asdict(info), "kind": kind or info.kind, **here})
    rows += [
        {"name": spec.name, "kind": "extractor", "licence": spec.licence, "commercial_use": spec.commercial_use,
         "source": spec.version, "description": ", ".join(spec.provides)}
        for spec in extractor_specs()
    ]  # fmt: skip
    return rows


def catalogue_table() -> Table:
    """The catalogue as a table."""
    table = Table("name", "kind", "licence", "commercial", "here", "what")
    for row in catalogue_json():
        here = {True: "yes", False: "no", None: ""}[row.get("here")]
        cells = (row["name"], row["kind"], row["licence"], "yes" if row["commercial_use"] else "NO", here,
                 row["description"])  # fmt: skip
        table.add_row(*map(Text, cells))  # Text: brackets in a description are not markup
    return table
