"""Files that a command writes where its user asks for them: looked at before anything is computed, written whole."""

from pathlib import Path

from ablations.reader import StudyError


def refuse_no_file(to: Path | None, option: str = "--to") -> None:
    """Raises StudyError where the path cannot become a file."""
    if to is None:
        return
    if to.is_dir():
        raise StudyError(f"{option} {to}: is a directory; name a file in it")
    above = next((each for each in to.absolute().parents if each.exists()), None)
    if above is not None and not above.is_dir():
        raise StudyError(f"{option} {to}: {above} is a file, not a directory; name another")


def write(path: Path, text: str) -> None:
    """The file is there whole, or as it was. What is no file, as /dev/stdout, is written to as it is."""
    from orchestrator.ledger import write_text

    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_text(path.resolve(), text)
    except OSError as error:
        error.filename = str(path)  # not the part of it that lies beside until it is whole
        raise
