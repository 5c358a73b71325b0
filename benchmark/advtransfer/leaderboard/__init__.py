"""The leaderboard: a page of tables and figures, as a pure function of a run's plan and records.

The same records give the same bytes, on any machine and in any folder, whatever the locale, the
clock or the order of the records.
"""

from advtransfer.leaderboard.page import Page, make_page, make_table
from advtransfer.leaderboard.page_reuse import keep_or_write_page
from advtransfer.leaderboard.publish import load_run_records, write_page
from advtransfer.leaderboard.run_records import RunRecords

__all__ = [
    "Page",
    "RunRecords",
    "keep_or_write_page",
    "load_run_records",
    "make_page",
    "make_table",
    "write_page",
]
