from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from toy import CountingBody
from toy import Make as MakeToy

from solfa.core.clip import Phrase
from solfa.core.errors import InputError, UnknownName, WeightsError
from solfa.core.types import States
from solfa.datasets.building import ShardTask, build
from solfa.datasets.features import FrozenFeatures, compute, in_precision
from solfa.datasets.loading import Loader
from solfa.datasets.shards import Clips, Dataset

Make = Callable[..., Dataset]


def opened(cache: Path, records: Clips, **options: object) -> FrozenFeatures:
    return FrozenFeatures.open(cache, records, **{"audio_space": "hear/1", "text_space": "read/1", **options})  # type: ignore[arg-type]


def run(cache: Path, records: Clips, **options: object) -> tuple[CountingBody, CountingBody, object]:
    hear, read = CountingBody("hear/1"), CountingBody("read/1")
    return hear, read, compute(cache, records, audio=hear, text=read, **options)  # type: ignore[arg-type]


def test_cached_states_are_the_computed_ones(make_toy: Make, tmp_path: Path) -> None:
    dataset = make_toy()
    records = dataset.split("train")
    run(tmp_path / "cache", records, batch_size=3)
    features = opened(tmp_path / "cache", records)
    assert features.ids == records.ids and features.hop_s == 0.125 and len(features) == 12
    assert features.captions == tuple(r.captions for r in records)
    assert features.phrases == tuple(r.phrases for r in records)
    (batch,) = Loader(features, batch_size=12, seed=4)
    rows = [records.ids.index(name) for name in batch.ids]
    hear, read = CountingBody("hear/1"), CountingBody("read/1")
    for i, row in enumerate(rows):
        record = records[row]
        alone = hear.states([dataset.audio(record)])
        length = alone.states_BTD.shape[1]
        assert batch.audio.mask_BT[i].sum() == length and batch.audio.mask_BT[i, :length].all()
        assert batch.audio.states_BTD[i, :length] == pytest.approx(alone.states_BTD[0], rel=1e-3)
        assert not batch.audio.states_BTD[i, length:].any()
        assert batch.audio.pooled_BD[i].tolist() == alone.pooled_BD[0].tolist()
        if not record.captions:
            assert batch.captions[i] == "" and not batch.text.mask_BT[i].any()
            continue
        assert batch.captions[i] in record.captions
        words = read.states([batch.captions[i]])
        assert batch.text.states_BTD[i][batch.text.mask_BT[i]] == pytest.approx(words.states_BTD[0])
    assert batch.audio.states_BTD.dtype == batch.text.states_BTD.dtype == np.float16
    loader = Loader(features, batch_size=4, seed=1)
    drawn = {caption for _ in range(20) for b in loader for caption in b.captions}
    assert drawn == {"", *(caption for record in records for caption in record.captions)}


def test_a_second_run_computes_nothing_and_a_changed_shard_is_computed_alone(make_toy: Make, tmp_path: Path) -> None:
    cache, first = tmp_path / "cache", make_toy("first").split("train")
    hear, read, done = run(cache, first)
    assert sum(hear.asked) == 12 and (done.made, done.kept) == (6, 0)  # type: ignore[attr-defined]
    assert sum(read.asked) == 3 * 5  # three captions of its own, "a clip" and "hum" once for each shard
    hear, read, done = run(cache, first)
    assert not hear.asked and not read.asked and (done.made, done.kept) == (0, 6)  # type: ignore[attr-defined]
    louder = make_toy("louder", shards=1, loud=0.5).split("train")
    hear, read, _ = run(cache, Clips([louder.shards[0], *first.shards[1:]]))
    assert sum(hear.asked) == 4 and not read.asked  # other sound, the same words
    recaptioned = make_toy("words", words="note").split("train")
    hear, read, _ = run(cache, recaptioned)
    assert not hear.asked and sum(read.asked) == 15
    assert opened(cache, first).captions != opened(cache, recaptioned).captions


def files_of(cache: Path) -> dict[str, bytes]:
    return {str(p.relative_to(cache)): p.read_bytes() for p in cache.rglob("*") if p.is_file() and p.name[0] != "."}


def test_processes_share_the_work_and_make_the_cache_of_one(make_toy: Make, tmp_path: Path) -> None:
    records, bank = make_toy(shards=5).split("train"), ["solo"]
    run(tmp_path / "one", records, texts=bank)
    asked = []
    for rank in range(3):
        hear, _, done = run(tmp_path / "three", records, texts=bank, rank=rank, world_size=3)
        asked.append((sum(hear.asked), done.made, done.kept))  # type: ignore[attr-defined]
    # Five blocks of sound and five of texts, and one of the bank.
    assert asked == [(8, 4, 0), (8, 4, 0), (4, 3, 0)]
    assert files_of(tmp_path / "three") == files_of(tmp_path / "one") != {}
    with pytest.raises(InputError, match="rank 3 of 3"):
        run(tmp_path / "three", records, rank=3, world_size=3)


def test_clips_of_like_length_share_a_batch(tmp_path: Path) -> None:
    made, padded = list(MakeToy(clips=9)(ShardTask(split="train", number=0, seed=0))), []
    mixed = [made[i] for i in (7, 2, 5, 0, 8, 3, 6, 1, 4)]
    num_shards = {"train": 1}
    dataset = build(tmp_path / "set", lambda _: iter(mixed), name="m", config={}, seed=0, num_shards=num_shards)
    records = dataset.split("train")

    class Seen(CountingBody):
        def states(self, batch: Sequence[object]) -> States:
            made = super().states(batch)  # type: ignore[arg-type]
            padded.append(made.mask_BT.sum(axis=1).tolist())
            return made

    compute(tmp_path / "cache", records, audio=Seen("hear/1"), text=CountingBody("read/1"), batch_size=3)
    assert padded == [[4, 5, 6], [7, 8, 9], [10, 11, 12]]
    features = opened(tmp_path / "cache", records)  # the clips are in their own order
    assert features.ids == records.ids and features.lengths()[0].tolist() == [11, 6, 9, 4, 12, 7, 10, 5, 8]


def test_two_data_sets_may_have_the_same_ids(make_toy: Make, tmp_path: Path) -> None:
    quiet, loud = make_toy("a", shards=1).split("train"), make_toy("b", shards=1, loud=0.5).split("train")
    both = Clips([*quiet.shards, *loud.shards])
    run(tmp_path / "cache", both)
    states = opened(tmp_path / "cache", both).audio(np.arange(8)).states_BTD
    assert (states[:4, 0, 0] == 0.25).all() and (states[4:, 0, 0] == 0.5).all()


def test_precision_is_of_torch_backbones_and_names_the_space() -> None:
    torch = pytest.importorskip("torch")

    class Body(CountingBody):
        device = torch.device("cpu")

        def states(self, batch: Sequence[object]) -> States:
            made = torch.nn.functional.linear(torch.full((1, 1, 4), 1 / 3), torch.eye(4))
            return States(made[0].float().numpy(), made.float().numpy(), np.ones((1, 1), np.bool_))

    plain, body = CountingBody("hear/1"), Body("hear/1")
    assert in_precision(plain, "bfloat16") is plain and in_precision(body, "float32") is body
    half = in_precision(body, "bfloat16")
    assert half.spec.space == "hear/1/bfloat16" and body.spec.space == "hear/1"
    assert half.states(["x"]).states_BTD[0, 0, 0] == np.float32(0.333984375)  # a third in bfloat16
    assert body.states(["x"]).states_BTD[0, 0, 0] == np.float32(1 / 3)
    with pytest.raises(InputError, match="runs on cpu, TF32 is of CUDA"):
        in_precision(body, "tf32")


def test_texts_of_a_bank_are_kept_too(make_toy: Make, tmp_path: Path) -> None:
    records, bank = make_toy().split("train"), ["a long solo", "hum", "solo", "solo"]
    run(tmp_path / "cache", records, texts=bank)
    features = opened(tmp_path / "cache", records, texts=bank)
    states = features.texts(["solo", "a long solo", "hum", ""])
    assert states.mask_BT.sum(axis=1).tolist() == [1, 3, 1, 0]
    assert states.states_BTD[1, :, 0].tolist() == [1.0, 4.0, 4.0]
    with pytest.raises(UnknownName, match="drum fill"):
        features.texts(["drum fill"])
    assert features.texts([]).states_BTD.shape == (0, 0, 4)
    run(tmp_path / "cache", records, texts=[" "])  # no token, a pooled vector
    blank = opened(tmp_path / "cache", records, texts=[" "]).texts([" ", "hum"])
    assert blank.mask_BT.tolist() == [[False], [True]] and blank.pooled_BD[:, 0].tolist() == [0.0, 1.0]
    with pytest.raises(InputError, match="does not hold"):
        opened(tmp_path / "cache", records, texts=["other"])


def test_clips_can_be_captioned_and_labelled_anew(make_toy: Make, tmp_path: Path) -> None:
    records, more = make_toy().split("train"), ["a whistle", "one thump"]
    run(tmp_path / "cache", records, texts=more)
    features = opened(tmp_path / "cache", records, texts=more)
    own = (Phrase(text="hum", spans_s=((0.0, 0.2),)),)
    other = features.relabelled(captions=[more] * 12, phrases=[own] * 12)
    batch = other.gather(np.arange(12), np.random.default_rng(0))
    assert set(batch.captions) == set(more) and batch.phrases == (own,) * 12
    assert batch.text.mask_BT.sum(axis=1).tolist() == [2] * 12
    assert features.captions == tuple(r.captions for r in records) and other.relabelled().captions == other.captions
    with pytest.raises(UnknownName, match="a bang"):
        features.relabelled(captions=[["a bang"]] * 12).gather(np.arange(12), np.random.default_rng(0))
    with pytest.raises(InputError, match="2 sequences were given for 12 clips"):
        features.relabelled(phrases=[own] * 2)


def test_another_space_is_refused(make_toy: Make, tmp_path: Path) -> None:
    records = make_toy().split("train")
    run(tmp_path / "cache", records)
    with pytest.raises(InputError, match=r"of 'hear/2' \(spaces it has: hear-1-"):
        opened(tmp_path / "cache", records, audio_space="hear/2")
    for index in (tmp_path / "cache").glob("hear-1-*/*/index.json"):
        index.write_text(index.read_text().replace("hear/1", "hear/3"))
    with pytest.raises(InputError, match="'hear/3', not of 'hear/1'"):
        opened(tmp_path / "cache", records)


def test_damage_and_a_killed_run_are_seen(make_toy: Make, tmp_path: Path) -> None:
    records, cache = make_toy().split("train"), tmp_path / "cache"

    class Killed(CountingBody):
        def states(self, batch: object) -> object:  # type: ignore[override]
            if len(self.asked) == 2:
                raise KeyboardInterrupt
            return super().states(batch)  # type: ignore[arg-type]

    with pytest.raises(KeyboardInterrupt):
        compute(cache, records, audio=Killed("hear/1"), text=CountingBody("read/1"), batch_size=2)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="does not hold"):
        opened(cache, records)
    hear, _, done = run(cache, records)
    assert sum(hear.asked) == 8 and done.kept == 4  # type: ignore[attr-defined]
    values = next(cache.glob("hear-1-*/*/values.f16"))
    values.write_bytes(values.read_bytes()[:-2])
    with pytest.raises(InputError, match="compute again"):
        opened(cache, records)
    (values.parent / "index.json").write_text('{"schema": "solfa.states/1", "space": "hear/1"}')
    with pytest.raises(InputError, match="compute again"):
        opened(cache, records)


def test_a_body_that_fails_on_a_clip_is_told_with_it(make_toy: Make, tmp_path: Path) -> None:
    class Dead(CountingBody):
        def states(self, batch: Sequence[object]) -> States:
            raise WeightsError("states are not finite.")

    records = make_toy().split("train")
    with pytest.raises(WeightsError, match=f"not finite. Clips: {records[0].id}"):
        compute(tmp_path / "cache", records, audio=Dead("hear/1"), text=CountingBody("read/1"))


def test_states_that_float16_cannot_hold_are_refused(make_toy: Make, tmp_path: Path) -> None:
    records = make_toy().split("train")
    for scale in (1e6, np.nan):
        with pytest.raises(InputError, match=f"'{records[0].id}': a state reaches .* float16"):
            compute(tmp_path / "cache", records, audio=CountingBody("hear/1", scale), text=CountingBody("read/1"))
    with pytest.raises(InputError, match="5 wide"):
        compute(tmp_path / "cache", records, audio=CountingBody("hear/1", width=5), text=CountingBody("read/1"))
    with pytest.raises(InputError, match="no records"):
        opened(tmp_path / "cache", make_toy().split("val"))


def test_two_runs_at_once_are_refused(make_toy: Make, tmp_path: Path) -> None:
    records = make_toy().split("train")

    seen = []

    def second(done: int, total: int) -> None:
        seen.append((done, total))
        if done < total:
            with pytest.raises(InputError, match="another process"):
                run(tmp_path / "cache", records)
        else:
            run(tmp_path / "cache", records)  # all is there: nothing to wait for

    run(tmp_path / "cache", records, progress=second)
    assert seen == [(n, 6) for n in range(7)]
