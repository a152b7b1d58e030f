"""`--config FILE`: options from a YAML file whose keys are the options' names. The command line wins."""

from pathlib import Path
from typing import Annotated, Any

import typer

from windowtax.base.errors import BadInput


def _read(context: typer.Context, path: Path | None) -> Path | None:
    """Puts the file's values in place of the options' defaults. Raises BadInput for a key that is no option."""
    if path is None:
        return None
    names = {option.removeprefix("--"): one.name for one in context.command.params for option in one.opts}
    values: dict[str, Any] = {}
    for key, value in _values(path).items():
        name = names.get(str(key).replace("_", "-"))
        if name is None:
            raise BadInput(f"{path}: there is no option {key!r}.", "Keys are the options' names, as in --help.")
        values[name] = value
    context.default_map = values
    return path


def _values(path: Path) -> dict[str, Any]:
    try:
        import yaml
    except ImportError as error:
        raise BadInput("--config needs PyYAML.", "pip install 'windowtax[serve]'") from error
    try:
        found = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise BadInput(f"{path} cannot be read: {error}", "Write YAML, such as  max-model-len: 32K") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise BadInput(f"{path} holds no options.", "Write YAML, such as  max-model-len: 32K")
    return found


ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", is_eager=True, callback=_read, help="YAML with these options; the command line counts more."
    ),
]
