"""`wieldy check`."""

from wieldy.cli import show
from wieldy.cli.options import Json, PackagePath
from wieldy.package.read import check as check_package
from wieldy.runtime.lower import lower_package


def check(package: PackagePath, json: Json = False) -> int:
    """Check a package's digests, structure and contents, and whether its shapes fit, without running it.

    Example: wieldy check small.wieldy
    """
    found = check_package(package)
    lower_package(found)
    facts = {
        "package": str(package),
        "sound": True,
        "sha256": found.sha256,
        "nodes": len(found.program.nodes),
    }
    facts |= {"tensors": len(found.tensors), "bytes": package.stat().st_size}
    if json:
        show.as_json(facts)
    else:
        print(
            f"{package}: sound, {facts['nodes']} nodes, {facts['tensors']} tensors, {facts['bytes']:,} bytes"
        )
        print(f"  sha256 {found.sha256}")
    return 0
