"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

ForceOption = Annotated[bool, typer.Option("--force", help="Replace files that exist.")]
