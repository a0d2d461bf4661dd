"""`wieldy export`."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wieldy.cli import show
from wieldy.cli.options import Json, PackagePath
from wieldy.core.optional import need

if TYPE_CHECKING:
    from numpy.typing import NDArray

EXAMPLES = 256  # on which the exported file is compared


class Form(StrEnum):
    """What can be written."""

    ONNX = "onnx"
    OPENVINO = "openvino"


def export(
    package: PackagePath,
    to: Annotated[Form, typer.Option(help="onnx (any batch, QDQ), or openvino (IR, one batch).")] = Form.ONNX,
    out: Annotated[Path | None, typer.Option(help="The file. Default: beside the package.")] = None,
    batch: Annotated[int, typer.Option(help="Examples per call, of openvino.", min=1)] = 1,
    data: Annotated[
        str | None, typer.Option(help="Compare on its test set (as in verify) and not at random.")
    ] = None,
    json: Json = False,
) -> int:
    """Write a package in a format of others, and say how far their runtimes are from ours.

    Zeros are written as numbers: a plain runtime computes the same, and gains nothing from them.

    Example: wieldy export runs/demo/small.wieldy --to onnx
    """
    from wieldy.compress.exported import differences
    from wieldy.package.read import read
    from wieldy.runtime.inputs import random_inputs
    from wieldy.runtime.ir import export_ir
    from wieldy.runtime.session import open as open_package

    found = read(package)
    if to is Form.ONNX:
        need("torch", "compress", "wieldy export --to onnx")
        from wieldy.compress.onnx import export_onnx

        path = export_onnx(found, out or package.with_suffix(".onnx"))
        written = [path]
    else:
        path = export_ir(found, out or package.with_suffix(".xml"), batch=batch)
        written = [path, path.with_suffix(".bin")]
    size = sum(part.stat().st_size for part in written)
    inputs = _test_inputs(data) if data else random_inputs(found.program, EXAMPLES)
    apart = differences(path, open_package(package), inputs)
    if json:
        show.as_json({"file": str(path), "bytes": size, "differences": [vars(item) for item in apart]})
        return 0
    print(f"{path}: {size:,} bytes (the package: {package.stat().st_size:,})")
    print("\n".join(show.difference_lines(apart, "test" if data else "random")))
    return 0


def _test_inputs(data: str) -> "tuple[NDArray[Any], ...]":
    """Return all inputs of a test set."""
    need("torch", "compress", "wieldy export --data")
    from wieldy.core.data import each, joined
    from wieldy.flow.sources import load_data

    return each(joined([inputs for inputs, _ in load_data(data, Path()).test.batches(EXAMPLES)]))
