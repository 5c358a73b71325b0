"""The leaderboard: a page of tables and figures, as a pure function of a run's plan and records.

The same records give the same bytes: on any machine, in any folder, whatever the locale, the clock or their order.
"""

from advtransfer.leaderboard.evidence import RunRecords
from advtransfer.leaderboard.page import Page, page, table_of
from advtransfer.leaderboard.publish import evidence_of, publish, write_page

__all__ = ["Page", "RunRecords", "evidence_of", "page", "publish", "table_of", "write_page"]
