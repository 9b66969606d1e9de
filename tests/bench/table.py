"""Tables for a terminal and, in Markdown, for the documentation."""

from collections.abc import Sequence


def render(head: Sequence[str], rows: Sequence[Sequence[str]], *, markdown: bool) -> str:
    """One line a row, below its head."""
    lines = [head, *rows]
    if markdown:
        written = ["| " + " | ".join(line) + " |" for line in lines]
        return "\n".join([written[0], "|---" * len(head) + "|", *written[1:]])
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def against(ratio: float, aim: float) -> str:
    """`x3.71 (aim 3.5)`, and what is not reached says so."""
    return f"x{ratio:.2f} (aim {aim:g}{'' if ratio >= aim else ', MISSED'})"


def quantile(sorted_values: Sequence[float], share: float) -> float:
    """The value below which that share of them lies (nearest rank)."""
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * share))]
