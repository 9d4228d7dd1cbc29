"""A language model as judge: both orders of a pair, answers checked field by field, no track lost from an order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from solfa.core.errors import SolfaError
from solfa.core.types import Audio
from solfa.llm import Client
from solfa.relevance.judge import NOT_KNOWN, Compared, FieldClaim, PairVerdict, Ranking, Winner, fields_of, in_words
from solfa.relevance.prompts import Paradigm, checked, messages, schema
from solfa.relevance.summary import TrackSummary

_WINNERS: dict[str, tuple[Winner, Winner]] = {"A": ("first", "second"), "B": ("second", "first"), "tie": ("tie", "tie")}
_ALIKE = {"same": 1.0, "partly": 0.5, "different": 0.0, "unknown": None}
_UNREAD = "the model gave no answer that can be read"


@dataclass(frozen=True, kw_only=True, slots=True)
class LlmJudge:
    """A ``Judge`` behind ``client``; raises what that raises. The other fields are as ``prompts.messages`` takes them:
    with ``sounds`` pairs are judged by these recordings as well."""

    client: Client
    role: str = ""
    focus: tuple[str, ...] = ()
    sounds: tuple[Audio, Audio] | None = None
    pause_s: float | None = 1.0

    def pairwise(self, context: str, a: TrackSummary, b: TrackSummary) -> PairVerdict:
        """The verdict that both orders agree on, with their mean confidence; else a tie with half of it."""
        if a == b and self.sounds is None:
            return PairVerdict(winner="tie", reason="both summaries are the same", confidence=1.0)
        ab = self._ask("pairwise", context, {"A": a, "B": b}, sounds=self.sounds)
        ba = self._ask("pairwise", context, {"A": b, "B": a}, sounds=self.sounds and self.sounds[::-1])
        if ab is None or ba is None:
            return PairVerdict(winner="tie", reason=_UNREAD, confidence=0.0)
        winner = _WINNERS[ab["winner"]][0]
        agreed = winner == _WINNERS[ba["winner"]][1]
        confidence = (ab["confidence"] + ba["confidence"]) / (2 if agreed else 4)
        reason = ab["reason"] if agreed else f"the orders disagree: {ab['reason']} / {ba['reason']}"
        return PairVerdict(winner=winner if agreed else "tie", reason=reason, confidence=round(confidence, 3))

    def listwise(self, context: str, summaries: Mapping[str, TrackSummary]) -> Ranking:
        """One call. Tracks that the answer lacks come last in the order given; ids that are made up or repeated, and
        claims about fields that are not known, are dropped; ``notes`` count them."""
        answer = self._ask("listwise", context, summaries)
        if answer is None:
            return Ranking(order=tuple(summaries), claims=dict.fromkeys(summaries, ()), notes=(_UNREAD,))
        given: dict[str, list[dict[str, str]]] = {}
        for one in answer["ranking"]:
            if one["id"] in summaries:
                given.setdefault(one["id"], one["claims"])
        order = (*given, *(i for i in summaries if i not in given))
        claims = {i: tuple(FieldClaim(field=c["field"], value=in_words(summaries[i], c["field"]), text=c["text"])
                           for c in given.get(i, ()) if c["field"] in summaries[i].known()) for i in order}  # fmt: skip
        counts = {
            "tracks that the model left out, in the order of the search": len(order) - len(given),
            "ids that the model made up or repeated, dropped": len(answer["ranking"]) - len(given),
            "claims about fields that are not known, dropped":
                sum(map(len, given.values())) - sum(map(len, claims.values())),
        }  # fmt: skip
        return Ranking(order=order, claims=claims, notes=tuple(f"{what}: {n}" for what, n in counts.items() if n))

    def compare(self, a: TrackSummary, b: TrackSummary, attributes: Sequence[str]) -> tuple[Compared, ...]:
        """As ``Judge``; an attribute that the answer lacks is not known. Raises SolfaError if it cannot be read."""
        fields_of(attributes)
        answer = self._ask("compare", "", {"A": a, "B": b}, focus=tuple(attributes))
        if answer is None:
            raise SolfaError(f"{_UNREAD}. Compare by rules, or with another model.")
        found = {one["attribute"]: one for one in answer["attributes"]}
        unknown = {"first": NOT_KNOWN, "second": NOT_KNOWN, "alike": "unknown"}
        rows = [{**(found.get(name) or unknown), "attribute": name} for name in attributes]
        return tuple(
            Compared(attribute=row["attribute"], first=row["first"], second=row["second"], relation=row["alike"],
                     match=_ALIKE[row["alike"]]) for row in rows
        )  # fmt: skip

    def _ask(self, paradigm: Paradigm, context: str, tracks: Mapping[str, TrackSummary], **options: Any) -> Any:
        options = {"role": self.role, "focus": self.focus, "pause_s": self.pause_s, **options}

        def fault(answer: Any) -> str:
            try:
                checked(answer, schema(paradigm))
            except ValueError as error:
                return str(error)
            return ""

        answer = self.client.ask(messages(paradigm, context, tracks, **options), schema(paradigm), fault=fault)
        return None if fault(answer) else checked(answer, schema(paradigm))
