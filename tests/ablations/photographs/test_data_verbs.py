"""`ablate data` as a user meets it: what it prints, how it exits, and that nothing heavy is loaded for its help."""

import json
import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from photographs_made import class_folders, encoded, photograph

from ablations.cli import main
from ablations.data.photographs import beton, inspection, prepare
from ablations.kernels.compiler import NoCompilerError

Said = tuple[int, str, str]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the user stands: two sources are here."""
    monkeypatch.chdir(tmp_path)
    class_folders(tmp_path / "birds")
    return tmp_path


@pytest.fixture
def ablate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def call(text: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["ablate", *text.split()])
        with pytest.raises(SystemExit) as end:
            main()
        assert isinstance(end.value.code, int)
        said = capsys.readouterr()
        return end.value.code, said.out, said.err

    return call


def test_what_is_prepared_is_said(place: Path, ablate) -> None:
    (place / "birds" / "train" / "jay" / "png.JPEG").write_bytes(encoded(photograph(1), "PNG"))
    (place / "birds" / "train" / "jay" / "note.txt").write_text("x")
    command = "data prepare imagefolder --from birds --to sets --size 32 --workers 2"
    assert ablate(command) == (
        0,
        "birds prepared: 7 train and 4 test images of 2 classes, 0.02 GB, in sets/birds\n"
        "  converted: train/jay/png.JPEG (PNG in RGB)\n"
        "1 files of the source are no images, and were passed over\n"
        "next: ablate data verify sets/birds\n"
        "then: `data: birds` in a study, and --data sets when it runs\n",
        "",
    )
    assert ablate("data verify sets/birds") == (0, "birds: all 11 images are as they were prepared\n", "")
    code, said, _ = ablate(f"{command} --store original --store raw32")
    assert code == 0
    assert "birds is there already: 7 train and 4 test images" in said
    assert "birds-raw32 prepared: 7 train and 4 test images" in said


def test_facts_as_json(place: Path, ablate) -> None:
    code, said, error = ablate(
        "data prepare imagefolder --from birds --to sets --size 32 --name b --title Birds --store raw20 --json"
    )
    assert (code, error) == (0, "")
    facts = json.loads(said)
    (about,) = facts["sets"]
    assert facts["passed_over"] == 0
    assert (about["folder"], about["name"], about["title"], about["storage"]) == (
        "sets/b-raw20",
        "b-raw20",
        "Birds",
        "raw20",
    )
    assert about["splits"]["train"]["images"] == 6
    assert set(about["versions"]) == {"pillow", "numpy", "check"}


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (
            "data prepare imagefolder --from birds",
            2,
            "Missing option '--to'; see `ablate data prepare imagefolder --help`",
        ),
        ("data prepare", 2, "Missing command; see `ablate data prepare --help`"),
        ("data", 2, "Missing command; see `ablate data --help`"),
        (
            "data prepare imagefolder --from birds --to s --size 2",
            2,
            "--size: must be greater than or equal to 8, not '2'",
        ),
        (
            "data prepare imagefolder --from birds --to s --store png",
            2,
            "--store: 'png' is no storage; write original, or",
        ),
        ("data prepare imagefolder --from birds --to s --name A", 2, "--name A: must be small letters and digits"),
        ("data prepare imagefolder --from nothing --to s", 4, "--from nothing: is not there; expected is a folder"),
        ("data prepare imagefolder --from birds --to s --held-out 1", 2, "birds has a test split, val/"),
        ("data prepare imagenet --from birds --to s", 2, "6 training and 4 test images of 2 classes, and ImageNet has"),
        ("data verify birds", 4, "birds: no prepared data set is here (manifest.json is missing)"),
    ],
)
def test_a_wrong_command_is_one_line(place: Path, ablate, command: str, code: int, words: str) -> None:
    found, said, error = ablate(command)
    assert (found, said) == (code, "")
    assert words in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not (place / "s").exists()


def test_a_weaker_check_is_said(place: Path, ablate, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise NoCompilerError

    monkeypatch.setattr(inspection, "_function", none)
    code, said, _ = ablate("data prepare imagefolder --from birds --to sets --size 32")
    assert code == 0
    assert "without a C compiler and libjpeg's headers, images were checked by Pillow alone" in said


def test_a_long_list_is_cut_short(place: Path, ablate) -> None:
    for number in range(30):
        (place / "birds" / "train" / "jay" / f"{number:02}.png").write_bytes(encoded(photograph(number), "PNG"))
    _, said, _ = ablate("data prepare imagefolder --from birds --to sets --size 32")
    assert said.count("  converted: ") == 20
    assert "and 10 more; --json names all" in said


def test_a_bar_on_a_terminal_alone(place: Path) -> None:
    """Elsewhere standard error stays empty (above)."""
    head, tail = pty.openpty()
    env = {**os.environ, "PYTHONPATH": str(Path(beton.__file__).parents[3]), "TERM": "xterm", "COLUMNS": "100"}
    command = [sys.executable, "-m", "ablations.cli", "data", "prepare", "imagefolder", "--from=birds", "--to=sets"]
    shown: list[bytes] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=tail, env=env) as program:
        os.close(tail)
        with suppress(OSError):  # the terminal is gone with its last writer
            while said := os.read(head, 4096):
                shown.append(said)
        os.close(head)
        out, _ = program.communicate(timeout=60)
    assert program.returncode == 0
    assert b"10/10" in b"".join(shown)
    assert b"birds prepared" in out


def test_help_loads_nothing_heavy() -> None:
    code = """
import sys
from ablations.cli import main
sys.argv = ["ablate", "data", "prepare", "imagefolder", "--help"]
try:
    main()
finally:
    print({"torch", "numpy", "PIL", "ray", "mlflow", "pyarrow", "scipy"} & set(sys.modules))
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert said.splitlines()[-1] == "set()"


def test_preparing_loads_no_torch(place: Path) -> None:
    """Nor do its workers: they would take seconds to begin."""
    code = (
        "import sys, ablations.data.photographs.prepare; print({'torch', 'ray', 'pyarrow', 'scipy'} & set(sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert said.strip() == "set()"
    assert prepare.MOST_CROPS == 8
