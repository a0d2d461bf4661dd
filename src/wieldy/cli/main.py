"""Entry point: verbs, exit codes, and no traceback for a person."""

import sys
import tempfile
import traceback
from collections.abc import Callable

import typer

from wieldy.cli import (
    bench,
    check,
    claims,
    demo,
    export,
    import_,
    init,
    inspect,
    report,
    resume,
    run,
    sign,
    sweep,
    verify,
)
from wieldy.cli.notice import say_missing_kernels, show_warnings_plainly
from wieldy.core.errors import EXIT_INPUT, EXIT_INTERNAL, EXIT_INTERRUPTED, EXIT_MET, WieldyError
from wieldy.core.version import VERSION

app = typer.Typer(
    name="wieldy",
    help="A trained network and a goal in; a smaller, measured-faster CPU package with evidence out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
VERBS: dict[str, Callable[..., int]] = {
    "demo": demo.demo,
    "init": init.init,
    "run": run.run,
    "resume": resume.resume,
    "sweep": sweep.sweep,
    "bench": bench.bench,
    "verify": verify.verify,
    "check": check.check,
    "sign": sign.sign,
    "export": export.export,
    "import": import_.import_,
    "inspect": inspect.inspect,
    "report": report.report,
    "claims": claims.claims,
}
for _name, _verb in VERBS.items():
    app.command(_name)(_verb)


@app.callback(invoke_without_command=True)
def _root(version: bool = typer.Option(False, "--version", help="Print the version and stop.")) -> None:
    if version:
        print(VERSION)
        raise typer.Exit(EXIT_MET)
    say_missing_kernels()


def main(arguments: list[str] | None = None) -> None:
    """Run one verb and leave with its exit code."""
    show_warnings_plainly()
    sys.exit(run_verb(arguments))


def run_verb(arguments: list[str] | None = None) -> int:
    """Run one verb and return its exit code: 0 met, 1 verdict, 2 input, 3 our fault, 130 interrupted."""
    try:
        code = app(arguments, standalone_mode=False)
        if code == EXIT_INTERRUPTED:  # typer's own way of saying that Ctrl-C came
            raise KeyboardInterrupt
        return code if isinstance(code, int) else EXIT_MET
    except WieldyError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(
            "interrupted: files that were already saved are whole; nothing is half-written.", file=sys.stderr
        )
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return EXIT_MET
    except Exception as error:  # noqa: BLE001 - the last line of defence
        return _leave(error)


def _leave(error: Exception) -> int:
    """Show a usage error as typer does; anything else is our own fault and goes to a file."""
    show = getattr(error, "show", None)
    if callable(show):
        show()
        return EXIT_INPUT
    if type(error).__name__ == "Abort":
        return EXIT_INTERRUPTED
    with tempfile.NamedTemporaryFile("w", prefix="wieldy-fault-", suffix=".txt", delete=False) as file:
        traceback.print_exception(error, file=file)
    print(
        f"internal error: {type(error).__name__}: {error}. This is a fault of wieldy's; "
        f"please report it with {file.name}.",
        file=sys.stderr,
    )
    return EXIT_INTERNAL
