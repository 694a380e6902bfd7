"""The arguments and options that commands share, each with its help."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, get_args

import typer

from tempprop.spec import ErrorKind

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
VerifiedArgument = Annotated[
    str,
    typer.Argument(metavar="OUT|FILE", help="Output location, or a media file of this machine."),
]
TrustAnchorsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Root certificates in PEM: whoever signed has to have a certificate from one of them.",
    ),
]
LibraryOption = Annotated[
    str | None,
    typer.Option(metavar="OUT", help="Of a file: the output that it is said to come from."),
]
DecodeOption = Annotated[
    bool, typer.Option("--decode", help="Of an output: decode every file to its end as well.")
]
AllOption = Annotated[bool, typer.Option("--all", help="List the clips that are well, too.")]
ClipArgument = Annotated[
    str,
    typer.Argument(
        metavar="CLIP", help="clip_id, key, media file, or the sha256 of one.", show_default=False
    ),
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
RetriedArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[CLIP_ID]...", help="Names of dead letters; without any, all.", show_default=False
    ),
]
KINDS = get_args(ErrorKind)


def _known_kinds(kinds: list[str] | None) -> list[str] | None:
    for kind in kinds or []:
        if kind not in KINDS:
            raise typer.BadParameter(f"{kind!r} is none of: {', '.join(KINDS)}")
    return kinds


KindOption = Annotated[
    list[str] | None,
    typer.Option(
        "--kind",
        metavar="KIND",
        help=f"Why the last attempt failed: {', '.join(KINDS)}. Repeatable.",
        callback=_known_kinds,
        show_default=False,
    ),
]
RetryConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="NAME|FILE",
        help="Configuration to use instead of that of the run that gave up.",
        show_default=False,
    ),
]
AGE_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
OLDEST_DAYS = 36_500


def _age(text: str) -> timedelta:
    """Read an age such as 36h, 7d or 1d12h; 0 is one too."""
    if not re.fullmatch(r"0|(\d{1,6}(\.\d+)?[mhdw])+", text.strip()):
        raise typer.BadParameter(f"{text!r} is not an age. Write it as in 90m, 36h, 7d or 2w")
    parts = re.findall(r"([\d.]+)([mhdw])", text)
    age = sum((timedelta(**{AGE_UNITS[unit]: float(n)}) for n, unit in parts), timedelta())
    if age.days > OLDEST_DAYS:
        raise typer.BadParameter(f"{text!r} is more than a hundred years")
    return age


OlderThanOption = Annotated[
    timedelta,
    typer.Option(
        parser=_age, metavar="AGE", help="Leave alone what is younger, as in 90m, 36h, 7d or 2w."
    ),
]
DeleteOption = Annotated[
    bool, typer.Option("--delete", help="Remove them. Without it they are only listed.")
]
CostOption = Annotated[
    float | None,
    typer.Option(min=0, metavar="PRICE", help="Price of one worker for one hour."),
]
SeedOption = Annotated[
    int, typer.Option(min=0, max=LARGEST_SEED, metavar="N", help="Key of the noise.")
]
StudyArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="OUT_A OUT_B",
        help="Two places of clips: directories, globs or outputs, as paths or URIs. "
        "With --results: the files of answers, FILE.json ...",
        show_default=False,
    ),
]
ResultsOption = Annotated[bool, typer.Option("--results", help="Count the answers in these files.")]
PageOption = Annotated[Path, typer.Option("--out", metavar="FILE.html", help="The page to write.")]
PairsOption = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Take N of the pairs, drawn at random.")
]
StudySeedOption = Annotated[
    int,
    typer.Option(
        min=0, max=LARGEST_SEED, metavar="N", help="Of the choice of pairs, order and sides."
    ),
]
TitleOption = Annotated[
    str, typer.Option(metavar="TEXT", help="What stands above the page; raters read it.")
]
ShowPromptsOption = Annotated[
    bool, typer.Option("--show-prompts", help="Let raters read what the clips are to show.")
]
ChecksOption = Annotated[
    int | None,
    typer.Option(
        min=0,
        metavar="N",
        help="Attention checks: clips beside a spoiled copy. Without it: one to eight pairs, "
        "and at least two.",
        show_default=False,
    ),
]
IdenticalOption = Annotated[
    int, typer.Option(min=0, metavar="N", help="Clips beside themselves, to find a bias.")
]
LargestPageOption = Annotated[
    float, typer.Option(min=0, metavar="MB", help="Write no page that is larger.")
]
ClipsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="[NAME=]CLIPS...",
        help="Directory, glob or output location with clips; a path or a URI. One row each.",
        show_default=False,
    ),
]
ReferenceOption = Annotated[
    str | None,
    typer.Option(metavar="CLIPS", help="Real clips that FVD, FVMD and FID compare with."),
]
ReportOption = Annotated[
    str | None,
    typer.Option(
        "--out", metavar="URI", help="Where the report goes, and what was measured of each clip."
    ),
]
PromptsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help='What clips show, as JSON Lines: {"clip": NAME, "prompt": TEXT}.',
        show_default=False,
    ),
]
JudgesOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Weights of the judges: I3D, LPIPS, Inception.")
]
FramesOption = Annotated[
    int, typer.Option(min=2, metavar="N", help="Frames of each clip, from its beginning.")
]
MetricsOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME,...",
        help="Only these metrics. Without it: all that can be had.",
        show_default=False,
    ),
]
ResamplesOption = Annotated[
    int, typer.Option(min=0, metavar="N", help="Resamples of each interval; 0 for none.")
]
ResampleSeedOption = Annotated[
    int, typer.Option("--seed", min=0, max=LARGEST_SEED, metavar="N", help="Key of the resamples.")
]
