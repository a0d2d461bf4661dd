"""`wieldy import`."""

from pathlib import Path
from typing import Annotated

import typer

from wieldy.cli import show
from wieldy.cli.options import Json
from wieldy.core.errors import ConfigError
from wieldy.core.optional import need

EXAMPLES = 16  # on which the package is compared with the file


def import_(
    model: Annotated[Path, typer.Argument(help="An ONNX file.")],
    out: Annotated[Path | None, typer.Option(help="The package. Default: beside the file.")] = None,
    shape: Annotated[
        list[str] | None, typer.Option(help="Of an input whose size is open, without the batch: x=3,224,224.")
    ] = None,
    json: Json = False,
) -> int:
    """Read an ONNX file as a package, and say how far it is from what other runtimes make of the file.

    Example: wieldy import model.onnx --out model.wieldy
    """
    need("torch", "compress", "wieldy import")
    from wieldy.compress.exported import differences
    from wieldy.compress.onnx_import import import_onnx
    from wieldy.package.save import save
    from wieldy.runtime.inputs import random_inputs
    from wieldy.runtime.session import open as open_package

    network = import_onnx(model, dict(map(_shape, shape or ())))
    path = save(network, out or model.with_suffix(".wieldy"))
    inputs = random_inputs(network.program, EXAMPLES)
    apart = differences(model, open_package(path), inputs)
    if json:
        show.as_json(
            {
                "package": str(path),
                "nodes": len(network.program.nodes),
                "differences": [vars(item) for item in apart],
            }
        )
        return 0
    print(f"{path}: {len(network.program.nodes)} nodes, {path.stat().st_size:,} bytes")
    print("\n".join(show.difference_lines(apart, "random")))
    return 0


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, _, sizes = text.partition("=")
    numbers = sizes.split(",")
    if not name or not all(size.strip().isdecimal() for size in numbers):
        raise ConfigError(f"--shape: must be NAME=SIZE,SIZE..., without the batch; got {text!r}.")
    return name, tuple(map(int, numbers))
