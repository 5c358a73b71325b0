"""`list`, `show` and `plan` give what the commands print."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from click.testing import CliRunner

import advtransfer as at
from advtransfer.api.tables import Table
from advtransfer.cli import main


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        (lambda: at.list("evaluations"), ["list", "evaluations"]),
        (lambda: at.show("foolbox/fgsm"), ["show", "foolbox/fgsm"]),
        (lambda: at.show("quickstart"), ["show", "quickstart"]),
        (lambda: at.plan("quickstart", runs="none"), ["plan", "quickstart", "--runs", "none"]),
    ],
    ids=["list", "show component", "show suite", "plan"],
)
def test_a_table_is_the_text_and_the_data_of_the_command(
    call: Callable[[], Table], arguments: list[str]
) -> None:
    table = call()
    text = CliRunner().invoke(main, arguments).stdout
    data = CliRunner().invoke(main, [*arguments, "--json"]).stdout

    assert f"{table!r}\n" == text
    assert table.data == json.loads(data)
    assert len(table) == len(list(table)) > 0
    assert set(table.columns) <= set(table[0])
    assert table._repr_html_().count("<tr>") == len(table) + 1
