"""«Did you mean»: the nearest valid word to one that was written."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, valid: Iterable[str]) -> str | None:
    """The valid word that `word` most likely stands for, or None where none is near."""
    choices = {_folded(choice): choice for choice in valid}
    found = difflib.get_close_matches(_folded(word), choices, n=1, cutoff=0.6)
    return choices[found[0]] if found else None


def did_you_mean(word: str, valid: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or nothing where no valid word is near."""
    found = nearest(word, valid)
    return f"; did you mean {found!r}?" if found else ""


def _folded(word: str) -> str:
    return word.lower().replace("_", "-")
