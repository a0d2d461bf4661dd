"""`wieldy sign`."""

from pathlib import Path
from typing import Annotated

import typer

from wieldy.cli import show
from wieldy.cli.options import Json, PackagePath


def sign(
    package: PackagePath,
    key: Annotated[Path, typer.Option(help="An Ed25519 private key in PEM.")],
    ask: Annotated[bool, typer.Option("--ask", help="Ask for the passphrase of an encrypted key.")] = False,
    json: Json = False,
) -> int:
    """Sign a package and the evidence beside it; `wieldy check PACKAGE --key PUBLIC` then tells who made it.

    Example: wieldy sign runs/demo/small.wieldy --key key.pem
    """
    from wieldy.assure.signature import evidence_path
    from wieldy.assure.signature import sign as sign_package

    passphrase = typer.prompt("passphrase", hide_input=True, err=True) if ask else None
    path = sign_package(package, key, passphrase)
    covers = [str(package), *(str(item) for item in [evidence_path(package)] if item.is_file())]
    if json:
        show.as_json({"signature": str(path), "covers": covers})
    else:
        print(f"{path}: signs {' and '.join(covers)}")
    return 0
