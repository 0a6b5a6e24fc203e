"""The command line: `ifmmin`, also `python -m ifmmin`. Everything heavy is imported where it is used."""

import os
import sys

from ifmmin.data.errors import UserError


def main() -> None:
    """Run the command line; a `UserError` becomes one sentence and exit status 2."""
    # The driver reports lost workers and nodes in a line; Ray would add pages of its own logs.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "(?i)raylet|run_stages|node id")
    from ifmmin.orchestrator.commands import app

    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        app(arguments, prog_name="ifmmin")
    except UserError as error:
        if len(arguments) < len(sys.argv) - 1:
            raise
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2)


if __name__ == "__main__":
    main()
