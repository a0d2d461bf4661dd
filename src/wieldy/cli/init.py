"""`wieldy init`."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.prompt import Prompt

from wieldy.cli import show
from wieldy.cli.options import Json
from wieldy.core.errors import EXIT_MET, ConfigError
from wieldy.core.files import write_atomic
from wieldy.core.optional import need


def init(
    file: Annotated[Path, typer.Argument(help="The Python file that defines your model and your data.")],
    model: Annotated[
        str | None, typer.Option(help="Its name there. Default: the only one, or asked.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="The name of the data there, or a built-in set. Default: asked.")
    ] = None,
    weights: Annotated[str | None, typer.Option(help="A file with the model's state_dict.")] = None,
    out: Annotated[Path, typer.Option(help="Where the recipe goes.")] = Path("wieldy.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Replace a recipe that stands there.")] = False,
    json: Json = False,
) -> int:
    """Write a commented recipe for your own model.

    Example: wieldy init my_model.py
    """
    need("torch", "compress", "wieldy init")
    from wieldy.flow.init import commented, offer_of, untrained

    if out.exists() and not force:
        raise ConfigError(f"{out}: stands there already. Add --force, or name another with --out.")
    offer = offer_of(file)
    model = model or chosen("model", offer.models, f"{file} defines no torch module and no function for one")
    others = tuple(name for name in offer.data if name != model)
    data = data or chosen(
        "data", others, f"{file} defines no data; see docs/recipes.md or name a built-in set"
    )
    warning = "" if weights else untrained(file, model)
    text, facts = commented(file, model, data, out, weights=weights)
    write_atomic(out, text.encode())
    if json:
        show.as_json({"recipe": str(out), "model": model, "data": data, "found": facts, "warning": warning})
    else:
        print(f"{facts}\nwrote {out}\nnext: wieldy run {out}")
        if warning:
            print(f"note: {warning}", file=sys.stderr)
    return EXIT_MET


def chosen(what: str, names: tuple[str, ...], none: str) -> str:
    """Return the only name, or ask which it is.

    Raises:
        ConfigError: there is none, or nobody to ask.
    """
    if not names:
        raise ConfigError(f"init: {none}. Say which with --{what}.")
    if len(names) == 1:
        return names[0]
    if not sys.stdin.isatty():
        raise ConfigError(f"init: {what} may be any of {', '.join(names)}. Say which with --{what}.")
    return Prompt.ask(f"Which is the {what}?", choices=list(names))
