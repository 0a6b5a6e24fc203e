"""What MLflow raises, as a sentence with its remedy, and without passwords."""

import os
import re
from collections.abc import Iterator
from urllib.parse import unquote

LOCAL = "MLFLOW_TRACKING_URI=sqlite:///mlflow.db"
"""The remedy that works everywhere: a file in the working folder."""

_USER = re.compile(r"(?<=://)[^:/@\s]*(:\S*)?@")
_QUERY = re.compile(r"\?\S*")
_PACKAGES = {
    "psycopg": "psycopg[binary]",
    "psycopg2": "psycopg2-binary",
    "MySQLdb": "mysqlclient",
    "pymysql": "pymysql",
    "pyodbc": "pyodbc",
    "google": "google-cloud-storage",
    "azure": "azure-storage-blob",
}
"""The distribution of a module that a URI asks for, where their names differ."""


def shown(uri: str) -> str:
    """A URI without user, password and options."""
    return _QUERY.sub("", _USER.sub("", uri))


def hide(text: str, uri: str) -> str:
    """A text without the user, the password and the options that a URI contains, and without those of any other URI."""
    user, query = _USER.search(uri), _QUERY.search(uri)
    secrets = {query[0][1:]} if query else set()
    if user:
        password = (user[1] or "")[1:]
        secrets |= {user[0], password, unquote(password), *re.split("[@/]", password)}
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) > 2:
            text = text.replace(secret, "***")
    return _USER.sub("", text)


def hide_in_chain(error: BaseException, uri: str) -> None:
    """Remove the passwords of a URI from an error and those that caused it, which a traceback would print."""
    for cause in chain(error):
        cause.args = tuple(hide(value, uri) if isinstance(value, str) else value for value in cause.args)
        for name in ("message", "statement"):
            if isinstance(value := getattr(cause, name, None), str):
                setattr(cause, name, hide(value, uri))


def chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those that caused it, from the last to the first."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def unreachable(error: BaseException) -> bool:
    """Whether nothing answered, so that any other call would fail too."""
    from requests import HTTPError, RequestException

    return any(isinstance(cause, RequestException) and not isinstance(cause, HTTPError) for cause in chain(error))


def describe(error: BaseException, uri: str) -> str:
    """What is wrong and what to do about it, the whole of it, to stand after "MLflow at URI".

    Args:
        uri: of the tracking server or database.
    """
    text = hide(str(error), uri)
    if _keeps_files(uri) and "maintenance mode" in text:
        return (
            f"is a folder of files, which MLflow no longer writes; set {LOCAL}, and run 'mlflow migrate-filestore' to "
            "take earlier runs along"
        )
    if "out-of-date database schema" in text:
        return _describe_schema(text, uri)
    if missing := _missing_module(error):
        package = _PACKAGES.get(missing, missing)
        return f"needs the Python module {missing}, which is not installed; run pip install '{package}', or set {LOCAL}"
    if "Can't load plugin: sqlalchemy.dialects" in text or "unsupported URI" in text or "Could not parse" in text:
        return "is not an address that MLflow understands; set MLFLOW_TRACKING_URI to one, such as sqlite:///mlflow.db"
    if status := re.search(r"(?:error code|status code:?) (\d{3})", text):
        return _describe_status(int(status[1]), text)
    reason = _reason(error, text)
    if "readonly" in reason or "read-only" in reason:
        return f"cannot be reached or written ({reason}); make it writable, or set {LOCAL}"
    return f"cannot be reached or written ({reason})"


def why_not(error: BaseException, uri: str) -> str:
    """Why something could not be kept although MLflow answers."""
    text = hide(str(error), uri)
    if missing := _missing_module(error):
        return f"this needs the Python module {missing}; run pip install '{_PACKAGES.get(missing, missing)}'"
    if re.search(r"(?:error code|status code:?) 404|ENDPOINT_NOT_FOUND", text):
        return "its version is too old for this (status 404); MLflow 3 or later keeps it"
    return _reason(error, text)


def _describe_schema(text: str, uri: str) -> str:
    """Of a database that another version of MLflow made."""
    known = re.search(r"found version (\w+)", text)
    if known and not _knows_revision(known[1]):
        return f"is a database of a newer MLflow; run pip install --upgrade mlflow, or set {LOCAL} to another file"
    named = "MLFLOW_TRACKING_URI" in os.environ
    database = f"'{uri}'" if shown(uri) == uri else '"$MLFLOW_TRACKING_URI"' if named else shown(uri)
    return (
        f"is a database of an older MLflow; make a copy of it, then run mlflow db upgrade {database}, or set "
        "MLFLOW_TRACKING_URI=sqlite:///another.db"
    )


def _knows_revision(revision: str) -> bool:
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError
    from mlflow.store.db.utils import _get_alembic_config

    if revision == "None":
        return True
    try:
        return ScriptDirectory.from_config(_get_alembic_config("")).get_revision(revision) is not None  # type: ignore[no-untyped-call]
    except CommandError:
        return False


def _describe_status(status: int, text: str) -> str:
    """Of a server that answers, but not as wanted."""
    if "Invalid Host" in text:
        return (
            "refuses this name for it (status 403); start it with mlflow server --allowed-hosts, followed by the name"
        )
    if status in (401, 403, 407):
        return (
            f"refuses access (status {status}); set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
            "MLFLOW_TRACKING_TOKEN"
        )
    if status == 404:
        return (
            "does not answer as an MLflow server does (status 404); set MLFLOW_TRACKING_URI to the address of one, or "
            f"{LOCAL}"
        )
    body = text.partition("Response body:")[2].strip(" '\n")
    readable = "" if not body or "<" in body else f": {body.splitlines()[0]}"
    return f"cannot be reached or written (status {status}{readable})"


def _keeps_files(uri: str) -> bool:
    return "://" not in uri or uri.startswith("file:")


def _missing_module(error: BaseException) -> str | None:
    for cause in chain(error):
        if isinstance(cause, ModuleNotFoundError) and cause.name:
            return cause.name.partition(".")[0]
    match = re.search(r"No module named '([\w.]+)'", str(error))
    return match[1].partition(".")[0] if match else None


def _reason(error: BaseException, text: str) -> str:
    """What the operating system said, which MLflow wraps several times; else the first line of the error."""
    for cause in chain(error):
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno).lower()
    lines = text.strip().splitlines() or [type(error).__name__]
    return lines[0].partition(" (Background on this error")[0].rstrip(".")
