"""`wieldy resume`."""

from pathlib import Path
from typing import Annotated

import typer

from wieldy.cli.options import Json
from wieldy.cli.run import finish, pausing
from wieldy.cli.terminal import progress
from wieldy.core.optional import need


def resume(
    out: Annotated[Path, typer.Argument(help="The folder of a run that was cut off.")], json: Json = False
) -> int:
    """Go on with a run that was paused or killed.

    Example: wieldy resume runs/digits
    """
    need("torch", "compress", "wieldy resume")
    from wieldy.flow.run import resume as go_on

    shown = progress()
    with pausing(out, shown):
        record = go_on(out, progress=shown)
    return finish(record, out, as_json=json)
