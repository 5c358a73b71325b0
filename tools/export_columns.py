"""The columns of the exported tables in docs/export.md, made from their definitions in code.

python tools/export_columns.py            fails when the document differs from the definitions
python tools/export_columns.py --write    brings it up to date
"""

from __future__ import annotations

import sys
from pathlib import Path

from advtransfer.export import EXPORT_TABLES
from advtransfer.leaderboard.markdown import markdown_table

DOCUMENT = Path(__file__).parents[1] / "docs" / "export.md"
HEADER = ("column", "type", "meaning")


def rendered(document: str) -> str:
    """The document with the tables of columns made again."""
    for table, columns in EXPORT_TABLES.items():
        begin, end = (
            f"<!-- columns of {table}: begin, generated -->\n",
            f"<!-- columns of {table}: end -->",
        )
        before, _, rest = document.partition(begin)
        _, _, after = rest.partition(end)
        rows = [[f"`{column.name}`", column.type, column.meaning] for column in columns]
        text = markdown_table(HEADER, rows, right=[False] * 3)
        document = f"{before}{begin}\n{text}\n\n{end}{after}"
    return document


def main() -> int:
    """Check or write; 1 when the document was out of date."""
    found = DOCUMENT.read_text("utf-8")
    wanted = rendered(found)
    if "--write" in sys.argv:
        DOCUMENT.write_text(wanted, "utf-8")
        return 0
    return int(found != wanted)


if __name__ == "__main__":
    sys.exit(main())
