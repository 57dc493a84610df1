"""Predictions: what was kept is read back and checked, and errors are counted as the literal definition says."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from orchestrator import predictions
from orchestrator.ledger import Ledger, LedgerError
from orchestrator.predictions import MULTI_SCALE, TEN_CROP, Predictions, pack, read
from orchestrator.runs import Run, read_runs

LABELS = np.array([2, 0, 1])
SHARES = np.array([[0.5, 0.25, 0.25], [0.125, 0.5, 0.375], [0.25, 0.25, 0.5]], np.float16)
MADE = Predictions(probabilities=SHARES, labels=LABELS)


def finished(root: Path, data: bytes) -> Run:
    """A run that kept these bytes."""
    trial = toy.trial()
    with Ledger(root).attempt(trial, provenance={}, commit_seconds=0) as attempt:
        attempt.keep(MULTI_SCALE, data)
        attempt.finish(10, b"", {"outcome": "finished"})
    (run,) = read_runs(toy.study(trial), Ledger(root))
    return run


def test_what_was_kept_is_read_back(tmp_path: Path) -> None:
    """From the ledger, and not before it is asked for: the file may be gone until then."""
    run = finished(tmp_path, pack(MADE))
    assert list(run.kept) == [MULTI_SCALE]
    found = read(run, MULTI_SCALE)
    assert found.probabilities.dtype == np.float16
    assert np.array_equal(found.probabilities, SHARES)
    assert np.array_equal(found.labels, LABELS)
    (Ledger(tmp_path).folder(run.key).path / MULTI_SCALE).unlink()
    (again,) = read_runs(toy.study(toy.trial()), Ledger(tmp_path))
    assert list(again.kept) == [MULTI_SCALE]
    with pytest.raises(
        LedgerError, match=r"multi-scale\.npz: cannot be read \(No such file or directory\); put it back"
    ):
        read(again, MULTI_SCALE)


def test_the_same_predictions_are_the_same_bytes() -> None:
    """Whenever they are packed, and from whatever kind of float."""
    assert pack(MADE) == pack(Predictions(probabilities=SHARES.astype(np.float32), labels=LABELS))


def test_what_was_not_kept_is_said(tmp_path: Path) -> None:
    """With the trial and the file."""
    with pytest.raises(LedgerError, match=r"toy-0\.s0: kept no predictions-ten-crop\.npz"):
        read(finished(tmp_path, pack(MADE)), TEN_CROP)


def test_a_flipped_bit_is_no_prediction(tmp_path: Path) -> None:
    """The checksum tells before anything is parsed."""
    run, data = finished(tmp_path, pack(MADE)), bytearray(pack(MADE))
    data[len(data) // 2] ^= 4
    (Ledger(tmp_path).folder(run.key).path / MULTI_SCALE).write_bytes(data)
    with pytest.raises(LedgerError, match="not what was committed"):
        read(run, MULTI_SCALE)


def arrays(**given: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.savez(file, allow_pickle=True, **given)
    return file.getvalue()


def single() -> bytes:
    file = io.BytesIO()
    np.save(file, SHARES)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "No data left"),
        (b"text", "pickle"),
        (pack(MADE)[:-30], "not a zip|zip"),
        (single(), "context manager"),
        (arrays(probabilities=SHARES), "labels"),
        (arrays(probabilities=SHARES, labels=LABELS[:2]), "do not fit"),
        (arrays(probabilities=SHARES[0], labels=LABELS), "do not fit"),
        (arrays(probabilities=SHARES[:0], labels=LABELS[:0]), "do not fit"),
        (arrays(probabilities=SHARES, labels=LABELS + 1), "labels 1 to 3 of 3 classes"),
        (arrays(probabilities=SHARES, labels=LABELS - 1), "labels -1 to 1 of 3 classes"),
        (arrays(probabilities=SHARES, labels=LABELS.astype(float)), "labels float64"),
        (arrays(probabilities=SHARES.astype(int), labels=LABELS), "probabilities are int64"),
        (arrays(probabilities=SHARES * np.float16(np.nan), labels=LABELS), "no numbers"),
        (arrays(probabilities=np.array([[print]]), labels=np.array([0])), "pickle"),
    ],
    ids=range(14),
)
def test_other_files_hold_no_predictions(tmp_path: Path, data: bytes, reason: str) -> None:
    """Whatever a trial kept under the name: a line with the trial and the reason, and no code of it is run."""
    with pytest.raises(LedgerError, match=rf"toy-0\.s0: {MULTI_SCALE} holds no predictions \((?s:.*)(?:{reason})"):
        read(finished(tmp_path, data), MULTI_SCALE)


def literal(row: list[float], label: int, top: int) -> bool:
    """Whether the label is not among the first `top` of the classes by falling probability, earlier ones first."""
    order = sorted(range(len(row)), key=lambda each: (-row[each], each))
    return label not in order[:top]


@settings(deadline=None, max_examples=80)
@given(data=st.data(), classes=st.integers(1, 8), images=st.integers(1, 12), rows=st.integers(1, 12))
def test_errors_are_counted_as_they_are_defined(data: st.DataObject, classes: int, images: int, rows: int) -> None:
    """With ties, which float16 has many of; in pieces of any size; also where there are fewer classes than places."""
    steps = st.integers(0, 4).map(lambda each: each / 4)
    table = data.draw(st.lists(st.lists(steps, min_size=classes, max_size=classes), min_size=images, max_size=images))
    labels = data.draw(st.lists(st.integers(0, classes - 1), min_size=images, max_size=images))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predictions, "_ROWS", rows)
        made = Predictions(probabilities=np.array(table, np.float16), labels=np.array(labels))
        for top in (1, 2, 5):
            expected = [literal(row, label, top) for row, label in zip(table, labels, strict=True)]
            assert made.wrong(top).tolist() == expected
            assert made.error(top) == pytest.approx(100 * sum(expected) / images)


def test_every_reason_is_one_line(tmp_path: Path) -> None:
    """Also where NumPy's own has several."""
    made: list[Callable[[], bytes]] = [lambda: b"", lambda: b"text", lambda: pack(MADE)[:-30]]
    for number, data in enumerate(made):
        with pytest.raises(LedgerError) as caught:
            read(finished(tmp_path / str(number), data()), MULTI_SCALE)
        assert "\n" not in str(caught.value)
