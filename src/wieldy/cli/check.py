"""`wieldy check`."""

from pathlib import Path
from typing import Annotated

import typer

from wieldy.assure.signature import check_signature
from wieldy.cli import show
from wieldy.cli.options import Json, PackagePath
from wieldy.package.read import check as check_package
from wieldy.runtime.lower import lower_package


def check(
    package: PackagePath,
    key: Annotated[
        Path | None, typer.Option(help="A public key in PEM: leaves with 1 unless its owner signed this.")
    ] = None,
    json: Json = False,
) -> int:
    """Check a package's digests, structure and contents, and whether its shapes fit, without running it.

    Example: wieldy check small.wieldy
    """
    if key:
        check_signature(package, key)
    found = check_package(package)
    lower_package(found)
    facts = {
        "package": str(package),
        "sound": True,
        "sha256": found.sha256,
        "nodes": len(found.program.nodes),
        "signed_by": str(key) if key else None,
    }
    facts |= {"tensors": len(found.tensors), "bytes": package.stat().st_size}
    if json:
        show.as_json(facts)
    else:
        print(
            f"{package}: sound, {facts['nodes']} nodes, {facts['tensors']} tensors, {facts['bytes']:,} bytes"
        )
        print(f"  sha256 {found.sha256}")
        if key:
            print(f"  signed by the owner of {key}")
    return 0
