"""MAEB's own FGMCaps tasks score a solfa model: their classes and code, over rows laid out as the hub's are."""

from __future__ import annotations

import io
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from fakes.synth import tone
from fakes.tiny import tiny_model
from solfa.evaluation.interop import MTEB_TASKS, MtebModel

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

CLIPS = {"low": 31, "middle": 60, "high": 90, "bright": 111}


def hub_folder(root: Path) -> Path:
    """FGMCaps-benchmark's layout: Parquet of id, caption and audio, with the features as the hub writes them."""
    import pyarrow
    import pyarrow.parquet

    rows = []
    for number, (caption, midi) in enumerate(CLIPS.items()):
        file = io.BytesIO()
        soundfile.write(file, np.stack([tone(midi, 3.0, 22050, harmonics=1)] * 2, axis=1), 22050, format="FLAC")
        rows.append(
            {"id": f"clip{number}", "caption": caption, "audio": {"bytes": file.getvalue(), "path": f"{number}.flac"}}
        )
    text = {"dtype": "string", "_type": "Value"}
    features = {"id": text, "caption": text, "audio": {"_type": "Audio"}}
    table = pyarrow.Table.from_pylist(rows).replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )
    (root / "data").mkdir(parents=True)
    pyarrow.parquet.write_table(table, root / "data" / "test-00000-of-00001.parquet")
    return root


@pytest.fixture
def mteb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """mteb, whose FGMCaps tasks read the folder instead of the hub."""
    module = pytest.importorskip("mteb")
    datasets = pytest.importorskip("datasets")
    from mteb.tasks.retrieval.eng import fgmcaps_retrieval

    folder = hub_folder(tmp_path / "hub")

    def load(path: str, *, split: str, **options: Any) -> Any:
        assert path == "nishitanand/FGMCaps-benchmark"
        return datasets.load_dataset(str(folder), split=split, cache_dir=str(tmp_path / "cache"))

    monkeypatch.setattr(fgmcaps_retrieval, "load_dataset", load)
    return module


@pytest.mark.parametrize("name", ["FGMCapsT2ARetrieval", "FGMCapsA2TRetrieval"])
def test_fgmcaps_by_its_own_code(name: str, mteb: Any) -> None:
    (task,) = mteb.get_tasks(tasks=[name])
    evaluate = partial(mteb.evaluate, cache=None, show_progress_bar=False)
    (result,) = evaluate(MtebModel(tiny_model()), [task]).task_results
    (scores,) = result.scores["test"]
    assert scores["ndcg_at_1"] == 1.0 and scores["main_score"] == scores["recall_at_10"] == 1.0


def test_every_named_task_exists(mteb: Any) -> None:
    assert {t.metadata.name for t in mteb.get_tasks(tasks=list(MTEB_TASKS))} == set(MTEB_TASKS)
