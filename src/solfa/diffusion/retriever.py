"""Search by a generated query: words to vectors of sound, which take the place of the vectors of texts."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from solfa.alignment.scores import similarity
from solfa.audio import ContentHash, stretches
from solfa.collection import Collection
from solfa.core.errors import InputError
from solfa.core.types import Audio, Features, FloatArray, JointModel
from solfa.diffusion.guidance import GUIDANCE
from solfa.diffusion.inversion import STRENGTH, edit, fit_length
from solfa.diffusion.network import load
from solfa.diffusion.samplers import STEPS, sample
from solfa.encoders.registry import load_backbone
from solfa.encoders.vectors import features, pack, unit
from solfa.encoders.windows import candidates, pool
from solfa.query import Query
from solfa.retrieval import Evidence, Hit, Like, Results, Searcher
from solfa.retrieval.like import cut, parse_example

SAMPLES = 5
DEPTH = 50  # hits of both searches in which what moved is looked for
_NAMED = 3  # tracks in a note
_SUBJECTS = ("music", "a track", "a song", "a piece")  # of captions with and without a concept


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Generated:
    """Latents in the denoiser's space [shape=(S, T, D)], the prompts that they fit, and how long they took.

    ``text`` is empty for those of a sound. ``label`` says for people what they are; ``track_id``, the track that they
    come from, is never its own answer.
    """

    latents_STD: FloatArray
    label: str
    text: str = ""
    negative: str = ""
    track_id: int | None = None
    ms: float = 0.0

    @property
    def vector_D(self) -> FloatArray:
        """The query: the mean over samples and time at unit norm [shape=(D,)]."""
        rows_XD = self.latents_STD.reshape(-1, self.latents_STD.shape[-1])
        return np.asarray(pool(rows_XD, [(0, len(rows_XD))])[0], np.float32)

    def toward(self, direction_D: FloatArray, weight: float) -> "Generated":
        """Moved by a multiple of a direction (``Retriever.slider``); below 0 away from it."""
        return replace(self, latents_STD=self.latents_STD + np.float32(weight) * direction_D)


class Retriever:
    """A denoiser with the encoder of its texts: the shipped one, or that of a run of ``solfa train gdr``.

    Raises what ``network.load`` and ``load_backbone`` raise; InputError if texts are not encoded as in its training.
    """

    def __init__(self, place: Path | str | None = None, *, allow_noncommercial: bool = False) -> None:
        self.denoiser, self._allowed = load(place), allow_noncommercial
        self.name = "gdr" if place is None else f"gdr:{place}"
        self.spec = self.denoiser.spec
        self._texts = load_backbone(self.spec.text, "text", allow_noncommercial=allow_noncommercial)
        if (now := self._texts.spec.space) != self.spec.text_space:
            raise InputError(f"this denoiser was trained on texts of the space {self.spec.text_space!r}; "
                             f"{self.spec.text!r} gives {now!r}. Train it again: solfa train gdr")  # fmt: skip

    def joint(self, **how: Any) -> JointModel:
        """A joint model, to be measured beside others: sounds by the backbone of the space, texts by what is generated.

        ``how`` are arguments of ``generate``. Raises as ``load_backbone``, and its text side as ``generate``.
        """
        backbone = load_backbone(self.spec.audio, "audio", allow_noncommercial=self._allowed)

        def sounds(batch: Sequence[Audio]) -> Features:
            found = backbone.states(batch)
            rows = [row[mask] for row, mask in zip(found.states_BTD, found.mask_BT, strict=True)]
            return pack([np.asarray(row, np.float32) for row in rows], self.spec.dim)

        def texts(batch: Sequence[str]) -> Features:
            made = [self.generate(text, **how) for text in batch]
            rows = [unit(one.latents_STD.mean(axis=0)) for one in made]
            return features(rows, self.spec.dim, [one.vector_D for one in made])

        text_spec = replace(self._texts.spec, space=self.spec.space, dim=self.spec.dim)
        audio: Any = SimpleNamespace(spec=backbone.spec, encode=sounds)
        return JointModel(name=self.name, audio=audio, text=cast(Any, SimpleNamespace(spec=text_spec, encode=texts)))

    def states(self, text: str) -> FloatArray:
        """States of the tokens of a text [shape=(L, E)]."""
        found = self._texts.states([text])
        return np.asarray(found.states_BTD[0][found.mask_BT[0]], np.float32)

    def generate(
        self, text: str, negative: str = "", *, scale: float = GUIDANCE, seed: int = 0, samples: int = SAMPLES,
        steps: int = STEPS,
    ) -> Generated:  # fmt: skip
        """What a prompt sounds like, away from a negative one. The same for the same seed.

        Raises InputError if the prompt is blank or equal to its negative, and as ``samplers.sample``.
        """
        text_LE, negative_LE = self._prompts(text, negative)
        start_s = time.perf_counter()
        made = sample(self.denoiser, text_LE, negative=negative_LE, scale=scale, steps=steps, seed=seed,
                      samples=samples)  # fmt: skip
        return Generated(latents_STD=made, label=_label(text, negative), text=text, negative=negative,
                         ms=1000 * (time.perf_counter() - start_s))  # fmt: skip

    def edit(
        self, made: Generated, text: str, negative: str = "", *, strength: float = STRENGTH, scale: float = GUIDANCE
    ) -> Generated:
        """Latents, generated or of a sound, changed so that they fit another prompt (``inversion.edit``).

        Of a sound the null text says what it was; it is the prompt too where there is a negative alone. Raises
        InputError as ``generate`` and ``inversion.edit``.
        """
        text_LE, negative_LE = self._prompts(text, negative, null=True)
        old_LE = self.states(made.text) if made.text else self.spec.null_LE
        start_s = time.perf_counter()
        latents = edit(self.denoiser, made.latents_STD, old_LE, text_LE, negative=negative_LE, scale=scale,
                       strength=strength)  # fmt: skip
        label = _label(", ".join(filter(None, ("" if made.text else made.label, text))), negative)
        return replace(made, latents_STD=latents, label=label, text=text, negative=negative,
                       ms=made.ms + 1000 * (time.perf_counter() - start_s))  # fmt: skip

    def slider(self, concept: str) -> FloatArray:
        """The direction of a concept: the mean latent of captions with it less that of the same without [shape=(D,)].

        For ``Generated.toward``; its norm is how far captions lead. Raises InputError if the concept is blank.
        """
        if not concept.strip():
            raise InputError("a slider needs words for its concept.")
        plus, minus = ([self.generate(text).latents_STD.mean(axis=(0, 1)) for text in texts]
                       for texts in ([f"{subject} with {concept}" for subject in _SUBJECTS], _SUBJECTS))  # fmt: skip
        return np.asarray(np.mean(plus, axis=0) - np.mean(minus, axis=0), np.float32)

    def of_sound(self, example: str, collection: Collection | None = None) -> Generated:
        """Latents of ``FILE`` or ``FILE@0:30-0:50``, to be edited; if a collection has the file, as that track.

        Raises InputError if there is no such file or nothing in the range; DecodeError if it cannot be read.
        """
        path, start_s, end_s = parse_example(example)
        if not path.is_file():
            raise InputError(f"no such file: {path}. Expected FILE, or FILE@0:30-0:50.")
        encoder = load_backbone(self.spec.audio, "audio", allow_noncommercial=self._allowed)
        content = ContentHash()
        parts = (cut(stretch, start_s, end_s) for stretch in stretches(path, content=content))
        found = [
            states.states_BTD[0][states.mask_BT[0]]
            for states in (encoder.states([part]) for part in parts if len(part.samples))
        ]
        if not any(map(len, found)):
            raise InputError(f"nothing to edit in {example!r}: choose another range of the file.")
        track_id = None if collection is None else collection.find(content.hex)
        return self._of_vectors(np.concatenate(found), path.name, track_id)

    def of_track(self, searcher: Searcher, track_id: int) -> Generated:
        """Latents of a track of a collection, by the vectors that it keeps.

        Raises UnknownTrack if there is no such track; CollectionError if it has no vectors of the denoiser's space.
        """
        self.check(searcher)
        store, row = searcher.collection.store(self.spec.space), searcher.collection.track(track_id)
        [windows] = store.windows([track_id])
        vectors_TD = candidates(searcher.model.views, windows) if store.space.window_s else windows.frames_TD
        return self._of_vectors(np.asarray(vectors_TD, np.float32), row.tags.title or row.paths[0].name, track_id)

    def _of_vectors(self, vectors_TD: FloatArray, name: str, track_id: int | None = None) -> Generated:
        latents_TD = fit_length(vectors_TD, self.spec.length)
        return Generated(latents_STD=latents_TD[None], label=f"like {name}", track_id=track_id)

    def check(self, searcher: Searcher) -> None:
        """Raises InputError if what is generated cannot be compared with what the searcher's collection holds."""
        space, head = searcher.model.space, searcher.collection.head()
        if self.spec.space not in (space, head.base if head is not None and head.space == space else space):
            other = self.spec.audio.removeprefix("tower:")
            raise InputError(f"the denoiser generates vectors of {self.spec.space!r}, {searcher.model.name!r} has "
                             f"{space!r}. Index with its model (solfa index MUSIC --model {other}), or train one: "
                             f"solfa train gdr --audio tower:{searcher.model.name}")  # fmt: skip

    def instead(self, made: Generated, searcher: Searcher) -> Like:
        """The query as ``Searcher.search`` takes it in the place of texts, through the head that was learnt, if any.

        Raises InputError as ``check``.
        """
        self.check(searcher)
        head, vector_D = searcher.collection.head(), made.vector_D
        if head is not None and head.space == searcher.model.space:
            vector_D = head.apply(vector_D)
        return Like(vector_D, made.label, made.track_id, weight=1.0)

    def _prompts(self, text: str, negative: str, null: bool = False) -> tuple[FloatArray, FloatArray | None]:
        if not (text.strip() or (null and negative.strip())):
            raise InputError("nothing to generate from: the prompt is empty. Say what the music should sound like; "
                             "of tempo, key and the like alone nothing is generated.")  # fmt: skip
        if text.casefold().split() == negative.casefold().split():
            raise InputError(f"the prompt and what it must not be are the same: {text!r}. Change one of them.")
        text_LE = self.states(text) if text.strip() else self.spec.null_LE
        return text_LE, self.states(negative) if negative.strip() else None


def prompts(query: Query) -> tuple[str, str]:
    """What a query says of sound, and what it excludes, as the texts of ``Retriever.generate``.

    >>> from solfa.query import parse
    >>> prompts(parse("calm piano with strings, 90 bpm, no drums"))
    ('calm piano with strings', 'drums')
    """
    return ", ".join(query.phrases), ", ".join(query.negated_phrases)


def moved(
    searcher: Searcher, before: Results, after: Results, likes: Sequence[Like], edit: str, asked: Sequence[str]
) -> Results:
    """The hits after an edit, each with evidence of where it was before, and why; a note names what moved down.

    Why: what was measured of the constraints ``asked`` (as ``Evidence.asked``), and the cosine of the track with the
    query ``likes`` before and after. Both searches should be ``DEPTH`` deep.
    """
    was, now = ({hit.track_id: rank for rank, hit in enumerate(r.hits, 1)} for r in (before, after))

    def why(hit: Hit) -> str:
        found = [f"{e.asked}: {e.measured}" for e in hit.evidence if e.asked in asked]
        if hit.track_id in searcher.store:
            near = similarity(
                searcher.store.windows([hit.track_id])[0].pooled_WD, np.stack([x.vector_D for x in likes])
            )
            found.append("similarity {:.2f} → {:.2f}".format(*near.mean(axis=0)))
        return ", ".join(found)

    def told(hit: Hit) -> Evidence:
        rank, old = now[hit.track_id], was.get(hit.track_id)
        up = old is None or old > rank
        said = "same place" if old == rank else f"{'up' if up else 'down'} from {old or f'below {len(was)}'}"
        return Evidence(constraint="edit", asked=edit, measured=f"{said} ({why(hit)})", confidence=0.0,
                        satisfied=None if old == rank else up)  # fmt: skip

    fell = sorted((hit for hit in before.hits if now.get(hit.track_id, len(was) + 1) > was[hit.track_id]),
                  key=lambda hit: was[hit.track_id] - now.get(hit.track_id, len(was) + 1))  # fmt: skip
    there = {hit.track_id: hit for hit in after.hits}
    down = [f"{hit.tags.title or hit.path.stem} {was[hit.track_id]} → {now.get(hit.track_id, f'below {len(now)}')} "
            f"({why(there.get(hit.track_id, hit))})" for hit in fell[:_NAMED] if was[hit.track_id] <= 10]  # fmt: skip
    note = f"moved down: {'; '.join(down)}" if down else ""
    hits = tuple(replace(hit, evidence=(told(hit), *hit.evidence)) for hit in after.hits)
    return replace(after, hits=hits, note="; ".join(filter(None, (after.note, note))))


def _label(text: str, negative: str) -> str:
    return f"{text}, not {negative}" if negative else text
