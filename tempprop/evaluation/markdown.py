"""Markdown tables."""

from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table whose first column is text and whose others are figures.

    Args:
        header: The columns' names.
        rows: The cells of each row, as many as there are columns.

    Returns:
        Lines of GitHub's Markdown, without a line break at the end.
    """
    alignment = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, alignment, *rows])
