"""What a person sees of a mistake in a command of this package."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from tempprop.errors import InputError


@contextmanager
def clear_errors() -> Iterator[None]:
    """Print an `InputError` as one line and leave with exit code 2, instead of a traceback."""
    try:
        yield
    except InputError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
