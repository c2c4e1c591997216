"""The command: quick answers first, then the command line proper."""

import gc
import os
import sys


def main() -> None:
    """Run the command line; exits with the code of what happened."""
    if sys.argv[1:] in (["--version"], ["version"]):
        from reconciler import __version__  # noqa: PLC0415 - nothing else is needed for this answer

        sys.stdout.write(f"reconciler {__version__}\n")
        return
    _open()
    # No package that happens to be installed beside us has a say in how our data is validated.
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"
    # Start-up makes tens of thousands of objects that all stay; looking for garbage among them is in vain.
    gc.disable()
    from reconciler.cli._main import run  # noqa: PLC0415 - start-up counts

    gc.freeze()
    gc.enable()
    code = run(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # All is closed and said: taking the interpreter apart would only take time.
    os._exit(code)


def _open() -> None:
    """Whatever of the first three files is closed is nothing from now on, and no file of ours."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115


if __name__ == "__main__":
    main()
