"""Puts what the methods cost and how their clips were judged on one page.

``python -m tempprop.studies.compare_methods CLIPS REPORT --domain NAME`` takes the directory that
`render_methods` filled and the report that ``tempprop evaluate`` wrote of it, keeps both in
`docs/measurements/methods-NAME.json`, draws `docs/methods-NAME.png`, and writes
`docs/evaluation.md` of all domains so kept. With ``--costs QUIET``, speed and memory are those of a
directory that `render_methods` filled while the machine had nothing else to do; a few clips do.
"""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from tempprop.errors import InputError
from tempprop.evaluation.plot import as_plot
from tempprop.evaluation.results import Evaluation
from tempprop.spec import Frozen
from tempprop.studies.comparison_page import REAL, Domain, comparison_page, in_order, plot_name
from tempprop.studies.method_records import MethodRecord, agreeing
from tempprop.whole_files import write_whole

app = typer.Typer()


class Comparison(Frozen):
    """The methods in one domain.

    Attributes:
        domain: What the clips show, in a word or two.
        records: What each method was asked for and what it cost.
        evaluation: How the clips were judged; figures of single clips are left out.
    """

    domain: str
    records: tuple[MethodRecord, ...]
    evaluation: Evaluation


def comparison_of(clips: Path, report: Path, domain: str, costs: Path | None = None) -> Comparison:
    """Bring the records of methods and the evaluation of their clips together.

    Args:
        clips: Directory that `render_methods` filled.
        report: The `evaluation.json`, or the directory with it. Rows are called as the methods.
        domain: What the clips show.
        costs: Another directory that `render_methods` filled, whose speed and memory count.

    Raises:
        InputError: A file is missing or holds something else, a row is of no method, or a method
            was asked for something else in `costs` than in `clips`.
    """
    path = report / "evaluation.json" if report.is_dir() else report
    try:
        evaluation = Evaluation.model_validate_json(path.read_text())
        records = [_record_of(row.name, clips, costs) for row in evaluation.rows]
    except FileNotFoundError as error:
        raise InputError(
            f"{error.filename} is not there. Give the directory that render_methods filled and the "
            "report of its clips, with rows called as the methods"
        ) from error
    except ValidationError as error:
        raise InputError(f"{error.title} cannot be read: {error.errors()[0]['msg']}") from error
    rows = tuple(row.model_copy(update={"by_clip": {}}) for row in evaluation.rows)
    return Comparison(
        domain=domain,
        records=tuple(records),
        evaluation=evaluation.model_copy(update={"rows": rows}),
    )


def _record_of(name: str, clips: Path, costs: Path | None) -> MethodRecord:
    record = MethodRecord.model_validate_json((clips / f"{name}.json").read_text())
    return record if costs is None else agreeing(costs / f"{name}.json", record)


def kept_domains(out: Path) -> list[Domain]:
    """Read what was found in every domain that was compared, by name.

    Args:
        out: Directory of the page.
    """
    kept = sorted((out / "measurements").glob("methods-*.json"))
    found = [Comparison.model_validate_json(path.read_text()) for path in kept]
    return [(each.domain, each.records, each.evaluation) for each in found]


@app.command()
def compare_methods(
    clips: Annotated[Path, typer.Argument(help="Directory of the methods' clips.")],
    report: Annotated[Path, typer.Argument(help="Directory of the evaluation of these clips.")],
    domain: Annotated[str, typer.Option(help="What the clips show; names the file.")] = "drawn",
    costs: Annotated[
        Path | None, typer.Option(help="Directory of methods whose speed and memory count.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Directory of the page.")] = Path("docs"),
) -> None:
    """Write the page that compares the methods."""
    try:
        comparison = comparison_of(clips, report, domain, costs)
    except InputError as error:
        raise typer.BadParameter(str(error)) from error
    path = out / "measurements" / f"methods-{domain}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, comparison.model_dump_json(indent=1) + "\n")
    write_whole(out / plot_name(domain), as_plot(in_order(comparison.evaluation), level=REAL))
    write_whole(out / "evaluation.md", comparison_page(kept_domains(out)))
    print(out / "evaluation.md")


if __name__ == "__main__":
    app()
