"""The command line: `ifmmin`, also `python -m ifmmin`. Everything heavy is imported where it is used."""

import os
import sys

from ifmmin.data.errors import UserError
from ifmmin.orchestrator.execution.interruption import exit_status, raise_if_interrupted, signals_interrupt


def main() -> None:
    """Run the command line.

    A `UserError` becomes one sentence and exit status 2, Ctrl-C exit status 130, SIGTERM 143.
    """
    # The driver reports lost workers and nodes in a line; Ray would add pages of its own logs.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "(?i)raylet|run_stages|node id")
    with signals_interrupt():
        try:
            _run([argument for argument in sys.argv[1:] if argument != "--debug"])
        except KeyboardInterrupt:
            print("Interrupted.", file=sys.stderr)  # noqa: T201
            sys.exit(exit_status())


def _run(arguments: list[str]) -> None:
    from ifmmin.orchestrator.commands import app
    from ifmmin.orchestrator.commands.encoding import write_plainly

    write_plainly()
    try:
        app(arguments, prog_name="ifmmin")
    except UserError as error:
        if len(arguments) < len(sys.argv) - 1:
            raise
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    except SystemExit as end:
        if end.code == 1:
            raise_if_interrupted()  # Typer has caught the interruption
        raise


if __name__ == "__main__":
    main()
