"""Markdown tables."""

from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]], texts: int = 1) -> str:
    """Write a table whose first columns are text and whose others are figures.

    Args:
        header: The columns' names.
        rows: The cells of each row, as many as there are columns.
        texts: How many columns are text.

    Returns:
        Lines of GitHub's Markdown, without a line break at the end.
    """
    alignment = [*["---"] * texts, *["---:"] * (len(header) - texts)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, alignment, *rows])
