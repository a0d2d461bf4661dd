"""`wieldy claims`."""

from pathlib import Path
from typing import Annotated

import typer

from wieldy.cli import show
from wieldy.cli.options import Json
from wieldy.cli.terminal import progress
from wieldy.core.errors import EXIT_MET, EXIT_VERDICT, ConfigError
from wieldy.core.optional import need


def claims(
    name: Annotated[str | None, typer.Argument(help="One of the names that --list shows, or all.")] = None,
    list_names: Annotated[bool, typer.Option("--list", help="Show all names and what they claim.")] = False,
    quick: Annotated[bool, typer.Option(help="Smaller measurements; under a minute.")] = False,
    out: Annotated[Path | None, typer.Option(help="Also write the claims as JSON to this file.")] = None,
    json: Json = False,
) -> int:
    """Measure published properties again; leaves with 1 when a verdict differs from the one on record.

    Example: wieldy claims importance --quick
    """
    need("torch", "compress", "wieldy claims")
    from wieldy.claims.runner import SYSTEMS, run_claims, write_claims, written_claims

    if list_names:
        listing = {system: text for system, (text, _) in SYSTEMS.items()}
        if json:
            show.as_json(listing)
        else:
            print("\n".join(f"{system}: {text}" for system, text in listing.items()))
        return EXIT_MET
    if name is None:
        raise ConfigError(f"claims: name one of {', '.join(SYSTEMS)}, or all, or ask with --list.")
    if out is not None:
        written_claims(out)  # refused before the minutes that measuring takes
    found = run_claims(name, quick=quick, progress=progress())
    if out is not None:
        write_claims(found, out, quick=quick)
    if json:
        show.as_json([claim.model_dump() | {"verdict": claim.verdict} for claim in found])
    else:
        for claim in found:
            mark = "CHANGED" if claim.changed else claim.verdict
            figures = f"{claim.measured:.4g} {claim.relation} {claim.threshold:.4g}"
            print(f"{mark}: {claim.what}: {figures} ({claim.seconds:.0f} s)")
    return EXIT_VERDICT if any(claim.changed for claim in found) else EXIT_MET
