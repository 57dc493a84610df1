"""A planned run as rows of bars: the numbers first, then characters, then a page."""

import html
import json
import re
from collections.abc import Sequence
from dataclasses import replace

import pytest

from orchestrator.placement import Node
from orchestrator.queue import Running
from orchestrator.trial import Resources, Trial
from reports.gantt import LETTERS, LEVELS, MOST_ROWS, Gantt, cells, folded, gantt, letters, lines, page, traces


def trial(number: int) -> Trial:
    return Trial(
        key=str(number), name=f"toy-{number}.s0", arm=f"toy-{number}", seed=0, params={}, parameters=1, multiply_adds=1,
        iterations=1, work=1.0, launches=1.0,
    )  # fmt: skip


def node(name: str = "one", *, gpus: int) -> Node:
    return Node(id=name, host=name, cpus=64, gpus=gpus)


def chart(spans: Sequence[tuple[int, str, Sequence[int], float, float, float]], nodes: Sequence[Node]) -> Gantt:
    """Of (trial, node, devices, GPUs, start, end)."""
    running = [
        Running(
            key=trial(number).key, node=node, resources=Resources(gpus=gpus), devices=devices, started=start,
            expected_end=end,
        )
        for number, node, devices, gpus, start, end in spans
    ]  # fmt: skip
    return gantt(running, {trial(each[0]).key: trial(each[0]) for each in spans}, nodes)


ONE = [node(gpus=2)]
SHARED = [(0, "one", (0,), 0.5, 0.0, 10.0), (1, "one", (0,), 0.5, 0.0, 4.0), (2, "one", (0,), 0.5, 4.0, 8.0)]


def test_trials_that_share_a_gpu_stand_in_rows_of_their_own() -> None:
    """One after the other in one row."""
    found = chart(SHARED, ONE)
    assert [(row.label, [bar.trial for bar in row.bars]) for row in found.rows] == [
        ("GPU 0", ["toy-1.s0", "toy-2.s0"]),
        ("GPU 0/1", ["toy-0.s0"]),
        ("GPU 1", []),
    ]
    assert found.seconds == 10.0


def test_a_gang_stands_on_each_of_its_gpus() -> None:
    """And counts with all of them: arms are ordered by what they occupy."""
    found = chart([(0, "one", (0, 1), 2.0, 0.0, 6.0), (1, "one", (0,), 1.0, 6.0, 16.0)], ONE)
    assert [[bar.trial for bar in row.bars] for row in found.rows] == [["toy-0.s0", "toy-1.s0"], ["toy-0.s0"]]
    assert found.arms == ["toy-0", "toy-1"]
    assert letters(found) == {"toy-0": "A", "toy-1": "B"}
    assert found.rows[0].bars[0].has == "2 GPUs"


def test_cores_are_rows_too() -> None:
    """Of trials without a GPU."""
    found = chart([(0, "one", (), 0.0, 0.0, 2.0), (1, "one", (), 0.0, 0.0, 1.0), (2, "one", (), 0.0, 1.0, 2.0)], ONE)
    assert [row.label for row in found.rows] == ["core 0", "core 1"]


def test_cells_are_what_most_of_a_moment_is() -> None:
    """And how much of the row is at work then."""
    found = chart(
        [(0, "one", (0,), 1.0, 0.0, 4.0), (1, "one", (0,), 1.0, 4.0, 5.0), (2, "one", (1,), 1.0, 9.0, 10.0)], ONE
    )
    assert cells(found.rows[0], found, 5) == [
        ("toy-0", 1.0), ("toy-0", 1.0), ("toy-1", 0.5), ("", 0.0), ("", 0.0),
    ]  # fmt: skip
    assert lines(found, 11)[0] == [
        ("GPU 0", [("A", 0), ("A", 0), ("B", 1), (" ", 0), (" ", 0)]),
        ("GPU 1", [(" ", 0), (" ", 0), (" ", 0), (" ", 0), ("C", 2)]),
    ]


@pytest.mark.parametrize("width", [12, 80, 120])
def test_no_line_is_wider_than_asked(width: int) -> None:
    """Whatever the labels; and each cell has a time."""
    drawn, _ = lines(chart(SHARED, ONE), width)
    assert {len(label) + 1 + len(marks) for label, marks in drawn} == {width}


def test_many_rows_are_folded() -> None:
    """By GPU, then by node, then some nodes together; no bar is lost."""
    nodes = [node(f"n{number}", gpus=4) for number in range(60)]
    spans = [(n, f"n{n % 60}", ((n // 60) % 4,), 0.5, 0.0, 9.0) for n in range(480)]
    gpus = folded(chart([(n, "one", (n // 8,), 0.125, 0.0, 9.0) for n in range(32)], [node(gpus=4)]), MOST_ROWS)
    assert [(row.label, row.places) for row in gpus] == [(f"GPU {device}", 1.0) for device in range(4)]
    rows = folded(chart(spans, nodes), MOST_ROWS)
    assert len(rows) == 20
    assert (rows[0].label, rows[-1].label, rows[0].places) == ("node 1 to 3", "node 58 to 60", 12.0)
    assert sum(len(row.bars) for row in rows) == 480


def test_folded_nodes_are_bars_of_height() -> None:
    """Half of the places at work: half as high."""
    nodes = [node(f"n{number}", gpus=8) for number in range(8)]
    spans = [(n, f"n{n // 8}", (n % 8,), 1.0, 0.0, 8.0 if n % 2 else 4.0) for n in range(64)]
    drawn, legend = lines(chart(spans, nodes), 79)
    assert [label for label, _ in drawn] == [f"node {number}" for number in range(1, 9)]
    assert {mark for _, marks in drawn for mark, _ in marks} == {LEVELS[4], LEVELS[8]}
    assert legend[0].startswith("height: ")


def test_every_letter_is_explained() -> None:
    """However many arms there are; those beyond the letters have a sign in common."""
    found = chart([(n, "one", (0,), 1.0, n, n + 1.0) for n in range(60)], ONE)
    drawn, legend = lines(found, 200)
    assert {mark for _, marks in drawn for mark, _ in marks} - {" "} == {each.split()[0] for each in legend}
    assert len(legend) == len(LETTERS) + 1
    assert legend[-1] == "+ 8 others"


def test_where_nothing_runs_is_one_row() -> None:
    """Of hundreds of nodes those that are used keep their letters; so do the GPUs of one large node."""
    nodes = [node(f"n{number}", gpus=8) for number in range(300)]
    drawn, legend = lines(chart([(0, "n0", (0,), 1.0, 0.0, 4.0), (1, "n2", (3,), 1.0, 0.0, 4.0)], nodes), 79)
    labels = [label.strip() for label, _ in drawn]
    assert labels[-1] == "node 4 to 300 idle"
    assert [label for label in labels if "GPU" not in label] == ["node 2 idle", "node 4 to 300 idle"]
    assert legend == ["A toy-0", "B toy-1"]
    drawn, _ = lines(chart([(0, "one", (1,), 1.0, 0.0, 4.0)], [node(gpus=4096)]), 79)
    assert [label.strip() for label, _ in drawn] == ["GPU 0", "GPU 1", "GPU 2 to 4095 idle"]


def test_an_empty_chart() -> None:
    """Nothing runs, nothing is drawn."""
    found = chart([], ONE)
    assert (found.rows, found.arms, found.seconds, lines(found, 80)[0]) == ([], [], 0.0, [])


def test_traces_are_hours() -> None:
    """One for each arm, a bar for each place."""
    found = traces(chart([(0, "one", (0, 1), 2.0, 1800.0, 5400.0)], ONE))
    (trace,) = found["data"]
    assert (trace["name"], trace["y"], trace["base"], trace["x"]) == ("toy-0", ["GPU 0", "GPU 1"], [0.5] * 2, [1.0] * 2)
    assert found["rows"] == ["GPU 0", "GPU 1"]


def test_the_page_is_one_file_that_asks_for_nothing() -> None:
    """Its scripts are in it, its data too, and text from a study is never markup."""
    plain = chart(SHARED, ONE)
    bars = [replace(bar, trial="<script>alert(1)</script>") for bar in plain.rows[0].bars]
    text = page(replace(plain, rows=[replace(plain.rows[0], bars=bars)]), "a <b> study", [("time", "2 h & more")])
    bare = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r"(?:src|href)=\"(?!data:)", bare)
    assert "default-src 'none'; script-src 'sha256-" in html.unescape(text)
    assert "a &lt;b&gt; study" in text
    assert "2 h &amp; more" in text
    assert "alert(1)</script>" not in text
    data = re.search(r'id="chart-data">(.*?)</script>', text, re.DOTALL)
    assert data is not None
    assert json.loads(data.group(1))["rows"] == ["GPU 0"]
