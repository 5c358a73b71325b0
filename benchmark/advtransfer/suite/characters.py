"""Characters that no text of a suite may hold: they cannot be written to a file, or show a reader something else."""

from __future__ import annotations

import unicodedata

# Embeddings, overrides and isolates make text read in another order than it is stored ("Trojan Source").
_BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
# Not joiners (U+200C, U+200D) and marks of direction (U+200E, U+200F): emoji and scripts are spelled with them.
_INVISIBLE = "\u200b\u2060\u2061\u2062\u2063\u2064\ufeff\ufff9\ufffa\ufffb"
_NAMES = {"\0": "NULL", "\x1b": "ESCAPE", "\x07": "BELL", "\x08": "BACKSPACE", "\x7f": "DELETE"}


def joined(text: str) -> str:
    """The text with each pair of surrogates as the character it stands for, as JSON escapes an emoji."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def forbidden(text: str) -> str | None:
    """The first character of the text that it may not hold, in words."""
    found = next((one for one in text if not _allowed(one)), None)
    return None if found is None else described(found)


def described(character: str) -> str:
    """A character that cannot be shown as it is."""
    name = unicodedata.name(character, _NAMES.get(character, ""))
    if unicodedata.category(character) == "Cs":
        name = "half of a surrogate pair"
    return f"the character U+{ord(character):04X}" + (f" ({name})" if name else "")


def _allowed(character: str) -> bool:
    if character in "\t\n\r":
        return True
    return unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp") and character not in _BIDI + _INVISIBLE
