import json
import threading
from collections.abc import Callable
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solfa.core.clip import Phrase
from solfa.core.errors import InputError
from solfa.datasets.loading import AudioSource, IntArray, Loader, cropped, prefetched
from solfa.datasets.shards import Clips, Dataset

Made = tuple[list[int], int]


class Numbers:
    """Gives back the rows and one draw."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def gather(self, rows: IntArray, rng: np.random.Generator) -> Made:
        return rows.tolist(), int(rng.integers(1 << 30))


def run(loader: Loader[Made], epochs: int = 2) -> list[Made]:
    return [batch for _ in range(epochs) for batch in loader]


@settings(deadline=None)
@given(size=st.integers(8, 60), batch=st.integers(1, 4), world=st.integers(1, 2), seed=st.integers(0, 5))
def test_ranks_share_an_epoch_without_overlap(size: int, batch: int, world: int, seed: int) -> None:
    ranks = [
        Loader(Numbers(size), batch_size=batch, rank=r, world_size=world, seed=seed, workers=0) for r in range(world)
    ]
    made = [run(loader, 1) for loader in ranks]
    assert {len(m) for m in made} == {len(ranks[0])} == {size // (batch * world)}
    seen = [row for m in made for rows, _ in m for row in rows]
    assert len(seen) == len(set(seen)) > size - batch * world
    whole = run(Loader(Numbers(size), batch_size=batch * world, seed=seed, workers=0), 1)
    for step, (rows, _) in enumerate(whole):
        assert rows == [row for m in made for row in m[step][0]]


@settings(deadline=None)
@given(size=st.integers(4, 40), batch=st.integers(1, 4), stop=st.integers(0, 40), workers=st.sampled_from([0, 2]))
def test_it_goes_on_exactly_where_it_was(size: int, batch: int, stop: int, workers: int) -> None:
    def loader() -> Loader[Made]:
        return Loader(Numbers(size), batch_size=batch, seed=3, workers=workers)

    whole = run(loader(), 4)
    first = loader()
    begun = list(islice(endless(first), min(stop, len(whole) - 1)))
    state = json.loads(json.dumps(first.state))
    again = loader()
    again.load_state(state)
    rest = list(islice(endless(again), len(whole) - len(begun)))
    assert begun + rest == whole


def endless(loader: Loader[Made]):  # type: ignore[no-untyped-def]
    while True:
        yield from loader


def test_epochs_differ_and_seeds_differ() -> None:
    a = Loader(Numbers(50), batch_size=50, seed=0)
    first, second = run(a, 2)
    assert first[0] != second[0] and sorted(first[0]) == sorted(second[0]) == list(range(50))
    assert run(Loader(Numbers(50), batch_size=50, seed=1), 1)[0][0] != first[0]
    assert np.corrcoef(first[0], range(50))[0, 1] < 0.5


SHARES = [(30, 0.5), (6, 0.3), (4, 0.2)]


def test_shares_of_several_data_sets_fill_every_batch() -> None:
    loader = Loader(Numbers(40), batch_size=10, seed=2, shares=SHARES)
    epochs = [[rows for rows, _ in loader] for _ in range(6)]
    parts = [range(30), range(30, 36), range(36, 40)]
    for batches in epochs:
        counts = [sum(row in part for rows in batches for row in rows) for part in parts]
        assert counts == [20, 12, 8]
        assert all(abs(sum(row in part for row in rows) - share) <= 2 for rows in batches
                   for part, share in zip(parts, (5, 3, 2), strict=True))  # fmt: skip
    for part in parts:  # each is gone through in new orders, and no clip comes again before all have come
        stream = [row for batches in epochs for rows in batches for row in rows if row in part]
        rounds = [stream[at : at + len(part)] for at in range(0, len(stream) - len(part) + 1, len(part))]
        assert len(rounds) >= 4 and all(set(r) == set(part) for r in rounds) and len({tuple(r) for r in rounds}) > 1


@settings(deadline=None)
@given(stop=st.integers(0, 20), world=st.sampled_from([1, 2]), bucket=st.sampled_from([1, 3]))
def test_shares_and_buckets_go_on_exactly_and_on_any_ranks(stop: int, world: int, bucket: int) -> None:
    lengths = np.random.default_rng(0).integers(1, 50, 40)
    more = {"seed": 3, "shares": SHARES, "lengths_N": lengths, "bucket": bucket, "workers": 0}
    whole = run(Loader(Numbers(40), batch_size=8, **more), 4)
    first = Loader(Numbers(40), batch_size=8, **more)
    begun = list(islice(endless(first), stop))
    ranks = [Loader(Numbers(40), batch_size=8 // world, rank=r, world_size=world, **more) for r in range(world)]
    for loader in ranks:
        loader.load_state(json.loads(json.dumps(first.state)))
    rest = list(zip(*(islice(endless(loader), len(whole) - stop) for loader in ranks), strict=True))
    rows = [r for r, _ in begun] + [[row for r, _ in parts for row in r] for parts in rest]
    assert rows == [r for r, _ in whole]


def test_buckets_pad_little_and_leave_no_clip_out() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, 203)

    def padded(bucket: int) -> float:
        loader = Loader(Numbers(203), batch_size=10, seed=1, lengths_N=lengths, bucket=bucket)
        first, second = ([rows for rows, _ in loader] for _ in range(2))
        assert first != second and len({row for rows in first for row in rows}) == 200
        return float(np.mean([lengths[rows].max() for rows in first]))

    assert padded(20) < padded(5) < 0.75 * padded(1)
    ascending = [lengths[rows].max() for rows, _ in Loader(Numbers(203), batch_size=10, lengths_N=lengths, bucket=20)]
    assert abs(np.corrcoef(ascending, range(20))[0, 1]) < 0.6  # batches come in no order of length


@pytest.mark.parametrize(
    "shares", [[(30, 1.0)], [(30, 0.0), (10, 0.0)], [(30, -1.0), (10, 2.0)], [(30, np.nan), (10, 1)]]
)
def test_shares_that_are_none_are_refused(shares: list[tuple[int, float]]) -> None:
    with pytest.raises(InputError, match="shares"):
        Loader(Numbers(40), batch_size=4, shares=shares)


def test_in_order_and_to_the_last_for_evaluation() -> None:
    loader = Loader(Numbers(10), batch_size=4, shuffle=False, drop_last=False)
    assert [rows for rows, _ in loader] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]] and len(loader) == 3
    ranks = [Loader(Numbers(10), batch_size=2, shuffle=False, drop_last=False, rank=r, world_size=3) for r in range(3)]
    seen = [row for loader in ranks for rows, _ in loader for row in rows]
    assert sorted(seen) == list(range(10))


def test_another_world_goes_on_without_overlap() -> None:
    one = Loader(Numbers(40), batch_size=8, seed=1)
    begun = [row for rows, _ in islice(one, 2) for row in rows]
    two = [Loader(Numbers(40), batch_size=8, seed=1, rank=r, world_size=2) for r in range(2)]
    for loader in two:
        loader.load_state(one.state)
    rest = [row for loader in two for rows, _ in loader for row in rows]
    assert len(begun) == 16 and len(rest) == 16 and not set(begun) & set(rest)
    large = Loader(Numbers(40), batch_size=32, seed=1)
    large.load_state(one.state)
    assert list(large) == [] and large.state["epoch"] == 1 and len(list(large)) == 1


@pytest.mark.parametrize(
    "wrong",
    [{"seed": 9}, {"clips": 3}, {"position": -1}, {"position": 12}, {"epoch": -1}, {"epoch": "x"}, {"position": None}],
)
def test_a_foreign_state_is_refused(wrong: dict[str, object]) -> None:
    loader = Loader(Numbers(12), batch_size=4)
    with pytest.raises(InputError, match="state"):
        loader.load_state({**loader.state, **wrong})


@pytest.mark.parametrize(
    "wrong",
    [{"batch_size": 0}, {"rank": 2}, {"rank": 1}, {"workers": -1}, {"prefetch": 0}, {"seed": -1}, {"batch_size": 13}],
)
def test_wrong_settings_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InputError, match="loader"):
        Loader(Numbers(12), **{"batch_size": 4, **wrong})


def test_batches_are_made_ahead_in_order_and_no_thread_stays() -> None:
    started: list[int] = []

    def slow(job: int) -> int:
        started.append(job)
        if job == 7:
            raise ValueError("seven")
        return job * job

    made = prefetched(slow, range(8), workers=2, depth=3)
    assert next(made) == 0 and len(started) <= 4
    assert list(islice(made, 6)) == [1, 4, 9, 16, 25, 36]
    with pytest.raises(ValueError, match="seven"):
        next(made)
    left = prefetched(slow, range(6), workers=2, depth=3)
    next(left)
    left.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("solfa-loader")]


def test_cuts_of_sound_move_their_phrases(make_toy: Callable[..., Dataset]) -> None:
    records = make_toy().split("train")
    source = AudioSource(records, crop_s=0.3, sample_rate_hz=16000)
    (batch,) = Loader(source, batch_size=12, seed=0)
    assert batch.samples_BN.shape == (12, 4800) and batch.samples_BN.dtype == np.float32
    for i, record in enumerate(batch.records):
        length = min(4800, round(record.duration_s * 16000))
        assert batch.num_samples_B[i] == length and not batch.samples_BN[i, length:].any()
        middle = batch.samples_BN[i, length // 4 : length // 2]
        assert middle == pytest.approx(0.25, abs=0.02)
        assert 0 <= batch.starts_s_B[i] <= max(0, record.duration_s - 0.3) + 1e-6
        for phrase in batch.phrases[i]:
            assert all(0 <= a < b <= 0.3 + 1e-9 for a, b in phrase.spans_s)
    again, alone = (next(iter(Loader(source, batch_size=12, seed=0, workers=w))) for w in (0, 3))
    assert np.array_equal(batch.samples_BN, again.samples_BN) and np.array_equal(alone.samples_BN, again.samples_BN)
    other = next(iter(Loader(source, batch_size=12, seed=1)))
    assert {r.id for r in other.records} == {r.id for r in batch.records}
    assert not np.array_equal(other.starts_s_B, batch.starts_s_B)


def test_data_sets_are_joined(make_toy: Callable[..., Dataset]) -> None:
    a, b = make_toy("a").split("train"), make_toy("b", shards=1, words="b").split("train")
    joined = Clips([*a.shards, *b.shards])
    assert len(joined) == 16 and [joined[i] for i in (0, 12)] == [a[0], b[0]]


def test_of_a_phrase_that_is_cut_a_moment_is_nothing() -> None:
    phrases = [Phrase(text="entry", spans_s=((4.0, 6.0), (8.95, 9.5))), Phrase(text="click", spans_s=((7.0, 7.05),))]
    assert cropped(phrases, 5.95, 3.05) == (Phrase(text="click", spans_s=((7.0 - 5.95, 7.05 - 5.95),)),)
    assert [p.text for p in cropped(phrases, 5.5, 1.0)] == ["entry"]
