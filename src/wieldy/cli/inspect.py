"""`wieldy inspect`."""

from rich.console import Console
from rich.table import Table

from wieldy.cli import show
from wieldy.cli.options import Json, PackagePath
from wieldy.core.records import LayerRow
from wieldy.graph.cost import layer_costs
from wieldy.package.read import Package, read


def inspect(package: PackagePath, json: Json = False) -> int:
    """Show what is in a package: its inputs, layers, costs and where it comes from.

    Example: wieldy inspect small.wieldy
    """
    found = read(package)
    rows = layer_costs(found.program)
    if json:
        manifest = found.manifest.model_dump(mode="json")
        show.as_json(
            {"sha256": found.sha256, "manifest": manifest, "layers": [row.model_dump() for row in rows]}
        )
        return 0
    for line in _facts(found, rows):
        print(line)
    Console().print(_table(rows))
    return 0


def _facts(found: Package, rows: list[LayerRow]) -> list[str]:
    manifest = found.manifest
    origin = manifest.provenance.original[:12] or "a traced network"
    parameters, macs = sum(row.parameters for row in rows), sum(row.macs for row in rows)
    inputs = ", ".join(f"{card.name} {_shape(card.shape)} {card.dtype}" for card in manifest.inputs)
    kinds = sorted({kind for kind in manifest.formats.values() if kind != "dense"})
    zeros = found.zeros_left_out()
    left_out = f", of which {zeros:,} are zeros that {', '.join(kinds)} leaves out" if zeros else ""
    return [
        f"{found.path}: sha256 {found.sha256}",
        f"  inputs {inputs}; outputs {', '.join(manifest.outputs)}",
        f"  {parameters:,} parameters{left_out}",
        f"  {macs:,} multiply-accumulates, {found.path.stat().st_size:,} bytes",
        f"  made by wieldy {manifest.wieldy} from {origin}",
        f"  measured on {', '.join(manifest.tiers) or 'no tier yet'}",
    ]


def _table(rows: list[LayerRow]) -> Table:
    table = Table(box=None, header_style="bold")
    for name in ("layer", "op", "shape", "MACs", "parameters", "bytes"):
        table.add_column(
            name, justify="left" if name in ("layer", "op", "shape") else "right", overflow="fold"
        )
    for row in rows:
        if row.parameters or row.macs:
            table.add_row(
                row.layer, row.op, _shape(row.shape), f"{row.macs:,}", f"{row.parameters:,}", f"{row.bytes:,}"
            )
    return table


def _shape(shape: tuple[int | None, ...]) -> str:
    return "x".join("batch" if size is None else str(size) for size in shape)
