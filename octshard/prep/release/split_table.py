"""The splits that a release's participants.tsv recommends, and for whom it leaves that open. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from octshard import delimited, tsv
from octshard.dataset import participants
from octshard.errors import UsageError

COLUMN = "recommended_split"
WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
NAMED = 3  # people who are named in an error; the others are counted
HASH = "or place such people by a hash of their ids with --split hash"


@dataclass(frozen=True)
class SplitTable:
    """words: canonical participant -> its word in recommended_split, empty if there is none."""

    source: str
    columns: tuple[str, ...]
    words: Mapping[str, str]

    def splits(self) -> dict[str, str]:
        """Canonical participant -> train | val | test, for everybody whose word is one of WORDS."""
        return {person: WORDS[word] for person, word in self.words.items() if word in WORDS}

    def check(self, people: Iterable[str]) -> None:
        """UsageError of one line, which names them, if any of these people has no split here."""
        listed = sorted(set(people))
        if COLUMN not in self.columns:
            near = next((name for name in self.columns if "split" in name), "")
            advice = f"rename {near} if that is it" if near else "add it"
            raise UsageError(
                f"{self.source}: no column {COLUMN}, its columns are {', '.join(self.columns) or 'none'}; "
                f"{advice}, {HASH}"
            )
        by_problem: dict[str, list[str]] = {}
        for person in listed:
            if problem := self._problem(participants.canonical(person)):
                by_problem.setdefault(problem, []).append(person)
        if by_problem:
            problems = "; ".join(f"{_named(names)} {problem}" for problem, names in by_problem.items())
            raise UsageError(
                f"{self.source}: of {len(listed)} people of the manifest {problems}; "
                f"want train, val or test for everybody; mend the table, {HASH}"
            )

    def _problem(self, person: str) -> str:
        word = self.words.get(person)
        if word is None:
            return "have no row"
        if not word:
            return f"have no {COLUMN}"
        return "" if word in WORDS else f"have the {COLUMN} {word!r}"


def parse(text: str, source: str) -> SplitTable:
    """The splits in a participants.tsv; UsageError if two of its rows give one person two splits."""
    table = delimited.parse(text, source)
    if table.columns and not set(table.columns).intersection(tsv.PERSON):
        names = " or ".join(tsv.PERSON)
        raise UsageError(f"{source}: no column {names}, its columns are {', '.join(table.columns)}")
    words: dict[str, str] = {}
    raw_words = table.column((COLUMN,))
    for (line, _), raw, person in zip(
        table.rows, raw_words, participants.row_participants(table), strict=True
    ):
        word = raw.lower()
        earlier = words.get(person, "") if person else ""
        if word and earlier and WORDS.get(word, word) != WORDS.get(earlier, earlier):
            raise UsageError(
                f"{source} line {line}: {person} is in {word}, above in {earlier}; want one split"
            )
        if person:
            words[person] = earlier or word
    return SplitTable(source, table.columns, words)


def _named(people: Sequence[str]) -> str:
    """The number of people and the first few."""
    more = f" and {len(people) - NAMED} more" if len(people) > NAMED else ""
    return f"{len(people)} ({', '.join(people[:NAMED])}{more})"
