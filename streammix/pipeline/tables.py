"""Tables that people read: drawn on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Table", "printable", "show"]


@dataclass(slots=True)
class Table:
    """Rows of text under a title.

    Parameters
    ----------
    title
        What they are.
    columns
        Their names.
    n_right
        How many of the columns, from the first on, end at the right.
    sections
        The rows, in groups.
    """

    title: str
    columns: Sequence[str]
    n_right: int
    sections: list[list[Sequence[str]]] = field(default_factory=list)

    def __str__(self) -> str:
        """Return plain lines.

        Examples
        --------
        >>> print(Table("2 components", ["weight", "mean"], 1, [[("0.25", "1\\n")], [("0.75", "10")]]))
        2 components
        weight  mean
          0.25  1\\n
          0.75  10
        """
        rows = [self.columns, *([printable(cell) for cell in row] for rows in self.sections for row in rows)]
        widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                cell.rjust(width) if i < self.n_right else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        return "\n".join([self.title, *(line.rstrip() for line in lines)])


def show(table: Table, on_stderr: bool = False) -> None:
    """Print a table to standard output, or to standard error."""
    file = sys.stderr if on_stderr else sys.stdout
    if file.isatty():
        _draw(table, on_stderr)
    else:
        print(table, file=file)


def printable(text: str) -> str:
    """Return a text without what can't be printed."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _draw(table: Table, on_stderr: bool) -> None:
    from rich import table as rich_table  # which elsewhere would be most of what a short run costs
    from rich.console import Console
    from rich.text import Text

    drawn = rich_table.Table(title=table.title, title_justify="left")
    for i, column in enumerate(table.columns):
        drawn.add_column(column, justify="right" if i < table.n_right else "left", overflow="fold")
    for rows in table.sections:
        for row in rows:
            drawn.add_row(*(Text(printable(cell)) for cell in row), end_section=row is rows[-1])
    Console(stderr=on_stderr, highlight=False).print(drawn)
