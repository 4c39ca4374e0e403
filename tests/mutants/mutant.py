"""What a planted bug is: a few exact replacements in the product's own code, and how soon it has to be found.

Every old text MUST stand in its file exactly once. When the product moves on, the mutant is stale: it is named and
has to be planted anew, or it would pass for a bug that nobody plants any more.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Edit:
    """One replacement in ``file`` (a path in the tree)."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """A planted bug. ``wrong`` says what a person would have done wrong, in one sentence for a table.

    It has to be caught by the simulator within ``seeds_max`` seeds from 1 on, or, where the simulator cannot see it by
    nature, by the test ``node`` (a pytest node); then ``why_node`` says why.
    """

    name: str
    wrong: str
    edits: tuple[Edit, ...]
    seeds_max: int = 40
    node: str = ""
    why_node: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        """The files it changes, each once."""
        return tuple(dict.fromkeys(edit.file for edit in self.edits))


class StaleMutantError(Exception):
    """The product has moved on; the message names the mutant, the file and what was found."""


def plant(mutant: Mutant, root: Path) -> None:
    """Carry out the mutant's edits in the tree under ``root``; raises ``StaleMutantError`` and then changes nothing."""
    texts = {file: _text_of(root / file) for file in mutant.files}
    for edit in mutant.edits:
        texts[edit.file] = _replaced(mutant, edit, texts[edit.file])
    for file, text in texts.items():
        (root / file).write_text(text, encoding="utf-8")


def stale_words(mutants: Iterable[Mutant], root: Path) -> list[str]:
    """Say of each mutant that cannot be planted in the tree under ``root`` why not."""
    words = []
    for mutant in mutants:
        texts = {file: _text_of(root / file) for file in mutant.files}
        try:
            for edit in mutant.edits:
                texts[edit.file] = _replaced(mutant, edit, texts[edit.file])
        except StaleMutantError as error:
            words.append(str(error))
    return words


def doubled_names(mutants: Sequence[Mutant]) -> set[str]:
    """Return names that more than one mutant bears."""
    names = [mutant.name for mutant in mutants]
    return {name for name in names if names.count(name) > 1}


def _text_of(path: Path) -> str:
    # A file that is gone holds none of the texts, which is what the message then says.
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _replaced(mutant: Mutant, edit: Edit, text: str) -> str:
    times = text.count(edit.old)
    if times != 1:
        first_line = edit.old.strip().splitlines()[0].strip()
        raise StaleMutantError(f"{mutant.name}: “{first_line}” stands {times} times in {edit.file}, not once")
    return text.replace(edit.old, edit.new)
