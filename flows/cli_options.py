"""The arguments and options that commands share, each with its help."""

from typing import Annotated

import typer

LARGEST_SEED = 2**63 - 1

ManifestArgument = Annotated[
    str,
    typer.Argument(
        metavar="MANIFEST",
        help="Parquet file, directory or glob; a path or a URI.",
        show_default=False,
    ),
]
OutArgument = Annotated[
    str, typer.Argument(metavar="OUT", help="Output location; a path or a URI.")
]
OutOption = Annotated[
    str, typer.Option("--out", metavar="URI", help="Output location; a path or a URI.")
]
ConfigOption = Annotated[
    str,
    typer.Option(
        "--config", "-c", metavar="NAME|FILE", help="Name or YAML file of a configuration."
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change one value, as in --set clip.fps=12. Repeatable.",
    ),
]
LimitOption = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Take only the first N clips.")
]
WhereOption = Annotated[
    str | None,
    typer.Option(
        metavar="EXPR", help="SQL condition over the columns, as in \"project = 'spring'\"."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Worker processes. Without it: one for each GPU, or one.",
        show_default=False,
    ),
]
RayAddressOption = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS", help="Running Ray cluster; without it a private Ray is started."
    ),
]
CostOption = Annotated[
    float | None,
    typer.Option(min=0, metavar="PRICE", help="Price of one worker for one hour."),
]
SeedOption = Annotated[
    int, typer.Option(min=0, max=LARGEST_SEED, metavar="N", help="Key of the noise.")
]
