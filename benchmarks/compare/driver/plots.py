"""Pictures of the table."""
import os

from .options import ENGINES

MEMORY_NAMES = {"in": "in memory", "out": "data eight times the budget"}


def draw(tables, directory):
    """Writes the pictures and returns their paths; an error says why there are none."""
    try:
        import matplotlib  # not needed for anything else
        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError as error:
        raise RuntimeError(f"no plots without python3-matplotlib ({error})") from error
    paths = []
    for (pairs, value), cells in tables.items():
        for memory, name in MEMORY_NAMES.items():
            of_memory = [cell for cell in cells if cell.memory == memory and cell.peers()]
            if not of_memory:
                continue
            title = f"{name}, {pairs:,} pairs of 16 and {value} bytes"
            for kind, picture in (("rates", _rates), ("ratios", _ratios)):
                path = os.path.join(directory, f"{kind}-{memory}-{pairs}-{value}.png")
                figure = picture(pyplot, of_memory, title)
                if figure is not None:
                    figure.savefig(path, dpi=110)
                    pyplot.close(figure)
                    paths.append(path)
    return paths


def _name(cell):
    return f"{cell.workload}, {cell.threads} thr"


def _ratios(pyplot, cells, title):
    """Firn over the best peer of each cell, with the spread of the paired rounds."""
    rows = []
    for cell in cells:
        firn = cell.entries.get("firn")
        figure = firn.ratio_to(cell.peers()[0]) if firn is not None else None
        if figure is not None and figure.least > 0:
            rows.append((f"{_name(cell)} ({cell.peers()[0].engine})", figure))
    if not rows:
        return None
    rows.reverse()
    figure, axes = pyplot.subplots(figsize=(8, 1.2 + 0.28 * len(rows)), layout="constrained")
    medians = [row[1].median for row in rows]
    spread = [[row[1].median - row[1].least for row in rows],
              [row[1].most - row[1].median for row in rows]]
    axes.errorbar(medians, [row[0] for row in rows], xerr=spread, fmt="o", capsize=2)
    axes.grid(axis="x", which="both", alpha=0.3)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlabel("operations/s of Firn over the best peer's (named)")
    axes.set_title(title, fontsize=10)
    axes.tick_params(axis="y", labelsize=8)
    return figure


def _rates(pyplot, cells, title):
    """Every engine's rate, one small chart a cell."""
    columns = 3
    lines = (len(cells) + columns - 1) // columns
    figure, grid = pyplot.subplots(lines, columns, figsize=(11, 0.6 + 1.7 * lines), squeeze=False,
                                   layout="constrained")
    figure.suptitle(f"operations/s, {title}", fontsize=10)
    for axes in grid.flat[len(cells):]:
        axes.axis("off")
    for cell, axes in zip(cells, grid.flat):
        names = [name for name in reversed(ENGINES) if name in cell.entries]
        figures = [cell.entries[name].figure("rate") if cell.entries[name].rounds else None
                   for name in names]
        axes.barh(names, [one.median if one else 0 for one in figures],
                  xerr=[[one.median - one.least if one else 0 for one in figures],
                        [one.most - one.median if one else 0 for one in figures]],
                  color=["tab:blue" if name == "firn" else "tab:gray" for name in names])
        axes.set_title(_name(cell), fontsize=8)
        axes.tick_params(labelsize=7)
        axes.ticklabel_format(axis="x", style="sci", scilimits=(0, 3))
        axes.xaxis.get_offset_text().set_fontsize(7)
    return figure
