"""Puts what the methods cost and how their clips were judged on one page.

``python -m tempprop.studies.compare_methods CLIPS REPORT --domain NAME`` takes the directory that
`render_methods` filled and the report that ``tempprop evaluate`` wrote of it, keeps both in
`docs/measurements/methods-NAME.json`, draws `docs/methods-NAME.png`, and writes
`docs/evaluation.md` of all domains so kept.
"""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from tempprop.errors import InputError
from tempprop.evaluation.plot import as_plot
from tempprop.evaluation.results import Evaluation
from tempprop.spec import Frozen
from tempprop.studies.comparison_page import comparison_page, plot_name
from tempprop.studies.method_records import MethodRecord
from tempprop.studies.whole_files import write_whole

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


def comparison_of(clips: Path, report: Path, domain: str) -> Comparison:
    """Bring the records of methods and the evaluation of their clips together.

    Args:
        clips: Directory that `render_methods` filled.
        report: The `evaluation.json`, or the directory with it. Rows are called as the methods.
        domain: What the clips show.

    Raises:
        InputError: A file is missing or holds something else, or a row is of no method.
    """
    path = report / "evaluation.json" if report.is_dir() else report
    try:
        evaluation = Evaluation.model_validate_json(path.read_text())
        records = [
            MethodRecord.model_validate_json((clips / f"{row.name}.json").read_text())
            for row in evaluation.rows
        ]
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


def comparison_files(out: Path) -> list[Path]:
    """List the domains that were compared, by name."""
    return sorted((out / "measurements").glob("methods-*.json"))


@app.command()
def compare_methods(
    clips: Annotated[Path, typer.Argument(help="Directory of the methods' clips.")],
    report: Annotated[Path, typer.Argument(help="Directory of the evaluation of these clips.")],
    domain: Annotated[str, typer.Option(help="What the clips show; names the file.")] = "drawn",
    out: Annotated[Path, typer.Option(help="Directory of the page.")] = Path("docs"),
) -> None:
    """Write the page that compares the methods."""
    try:
        comparison = comparison_of(clips, report, domain)
    except InputError as error:
        raise typer.BadParameter(str(error)) from error
    path = out / "measurements" / f"methods-{domain}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, comparison.model_dump_json(indent=1) + "\n")
    known = [Comparison.model_validate_json(each.read_text()) for each in comparison_files(out)]
    page = comparison_page([(each.domain, each.records, each.evaluation) for each in known])
    (out / plot_name(domain)).write_bytes(as_plot(comparison.evaluation))
    (out / "evaluation.md").write_text(page)
    print(out / "evaluation.md")


if __name__ == "__main__":
    app()
