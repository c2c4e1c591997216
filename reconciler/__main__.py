"""The command: quick answers first, then the command line proper."""

import sys


def main() -> None:
    """Run the command line; exits with the code of what happened."""
    if sys.argv[1:] in (["--version"], ["version"]):
        from reconciler import __version__  # noqa: PLC0415 - nothing else is needed for this answer

        sys.stdout.write(f"reconciler {__version__}\n")
        return
    from reconciler.cli.main import run  # noqa: PLC0415 - start-up counts

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
