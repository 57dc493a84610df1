"""MLflow's address: where it is unless told otherwise, what kind it is, and how it can be shown to anybody."""

import re
from pathlib import Path
from urllib.parse import unquote

SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")
"""Of servers and databases that MLflow takes."""


def is_address(uri: str) -> bool:
    """Whether MLflow may take it: a server with a host, or a database."""
    found = re.match(r"([a-z]+)(?:\+\w+)?:(//)?([^/?]*)", uri)
    if found is None:
        return uri == "databricks"
    if found[1] in ("http", "https"):
        return bool(found[2] and found[3])
    return found[1] in SCHEMES and bool(found[2])


def default_uri(results: Path) -> str:
    """SQLite beside the ledger."""
    path = str(results.resolve() / "mlflow.db")
    quoted = path.replace("%", "%25").replace("?", "%3F")  # SQLAlchemy takes every other character as it is
    # At an address that begins with sqlite:///, MLflow makes the folder as it is written: quoted, beside ours.
    return f"sqlite:///{path}" if quoted == path else f"sqlite+pysqlite:///{quoted}"


def database(uri: str) -> Path | None:
    """The file of a SQLite address; None for any other."""
    found = re.match(r"sqlite(?:\+\w+)?:///([^?]+)", uri)
    return Path(unquote(found[1])) if found and found[1] != ":memory:" else None


def with_driver(uri: str) -> str:
    """An address of PostgreSQL names the package that we install: without it SQLAlchemy 2.1 looks for another one."""
    return re.sub(r"^postgresql://", "postgresql+psycopg2://", uri)


def without_password(text: str) -> str:
    """An address, or a message that names one, such that it can be shown to anybody."""
    text = re.sub(r"(\w://)(?!/)[^\s'\"]*@", r"\1", text)
    return re.sub(r"(?i)(password=)[^&\s'\"]+", r"\1***", text)
