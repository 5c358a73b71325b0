"""The quickstart's table in the README, made from the committed records.

python tools/readme.py            fails when the README differs from a fresh rendering
python tools/readme.py --write    brings it up to date
"""

from __future__ import annotations

import sys
from pathlib import Path

from advtransfer.leaderboard import load_run_records, make_table
from advtransfer.result import Run

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- quickstart: begin, by `make readme` -->\n", "<!-- quickstart: end -->\n"


def rendered(readme: str) -> str:
    """The README with the table made again."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    run = Run.open(ROOT / "leaderboard" / "results" / "quickstart" / "advtransfer")
    table = make_table(load_run_records(run), target="digits_5_9", n=100)
    return f"{before}{BEGIN}\n{table}\n\n{END}{after}"


def main() -> int:
    """Check or write; 1 when the README was out of date."""
    path = ROOT / "README.md"
    found, wanted = path.read_text("utf-8"), rendered(path.read_text("utf-8"))
    if "--write" in sys.argv:
        path.write_text(wanted, "utf-8")
        return 0
    return int(found != wanted)


if __name__ == "__main__":
    sys.exit(main())
