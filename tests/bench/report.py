#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Turns a benchmark's raw.tsv into a table, results.tsv and plot.svg, and checks the targets.

usage: report.py FOLDER

Of each operation and type the median over all repetitions counts. Its noise is the half width of
the middle half of the values (half the interquartile range), in percent of the median.
"""

import pathlib
import statistics
import sys
from xml.sax.saxutils import escape

# What rext4 may cost at most, as a multiple of C ext4's cost in the same run.
TARGETS = {
    "cached 4k read": 1.0,
    "cached 1M read": 1.0,
    "cold 1M read": 1.0,
    "stat hot": 1.0,
    "direct 4k read": 1.0,
    "stat cold": 0.7,
    "stat cold, blocks cached": 0.7,
    "readdir per entry": 0.7,
    "readdir per entry, cold": 0.7,
}
COLORS = {"ext4": "#8c8c8c", "xfs": "#4c78a8", "rext4": "#e45756"}


def read(path):
    """{operation: {type: [values]}} in the order of first appearance."""
    data = {}
    for line in path.read_text().splitlines():
        kind, op, _, value = line.split("\t")
        data.setdefault(op, {}).setdefault(kind, []).append(float(value))
    return data


def noise(values):
    if len(values) < 4:
        return 0.0
    low, middle, high = statistics.quantiles(values, n=4)
    return (high - low) / 2 / middle * 100


def summarize(data):
    rows = []
    for op, by_kind in data.items():
        median = {kind: statistics.median(values) for kind, values in by_kind.items()}
        spread = {kind: noise(values) for kind, values in by_kind.items()}
        ratio = None
        if median.get("ext4") and "rext4" in median:
            ratio = median["rext4"] / median["ext4"]
        rows.append((op, median, spread, ratio, TARGETS.get(op)))
    return rows


def table(rows, kinds):
    print(f"{'instructions per operation':<30}" + "".join(f"{k:>20}" for k in kinds)
          + f"{'rext4/ext4':>12}  target")
    missed = 0
    for op, median, spread, ratio, target in rows:
        line = f"{op:<30}"
        for kind in kinds:
            cell = f"{median[kind]:,.0f} ±{spread[kind]:.1f}%" if kind in median else "-"
            line += f"{cell:>20}"
        line += f"{ratio:>12.3f}" if ratio else f"{'-':>12}"
        if target and ratio:
            met = ratio <= target
            missed += not met
            line += f"  <= {target:.1f} {'met' if met else 'MISSED'}"
        print(line)
    return missed


def write_tsv(rows, kinds, path):
    with path.open("w") as f:
        f.write("operation\t" + "\t".join(f"{k}\t{k} noise %" for k in kinds)
                + "\trext4/ext4\ttarget\n")
        for op, median, spread, ratio, target in rows:
            cells = [op]
            for kind in kinds:
                cells += [f"{median[kind]:.1f}", f"{spread[kind]:.2f}"] if kind in median else ["", ""]
            cells += [f"{ratio:.4f}" if ratio else "", f"{target}" if target else ""]
            f.write("\t".join(cells) + "\n")


def write_svg(rows, kinds, path):
    """Bars relative to C ext4 = 1, because the operations differ by orders of magnitude."""
    left, width, bar, gap, top = 230, 520, 11, 12, 46
    row_height = len(kinds) * bar + gap
    height = top + len(rows) * row_height + 30
    relative = [m[k] / m["ext4"] for _, m, _, _, _ in rows for k in kinds if k in m and m.get("ext4")]
    scale = width / max(relative + [1.2])
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 150}" height="{height}" '
        'font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
        '<text x="10" y="18" font-size="14">Instructions per operation, C ext4 = 1</text>',
    ]
    for i, kind in enumerate(kinds):
        x = left + i * 90
        out.append(f'<rect x="{x}" y="26" width="10" height="10" fill="{COLORS.get(kind, "black")}"/>'
                   f'<text x="{x + 14}" y="35">{escape(kind)}</text>')
    for i, (op, median, _, _, target) in enumerate(rows):
        y = top + i * row_height
        out.append(f'<text x="{left - 8}" y="{y + row_height / 2}" text-anchor="end">{escape(op)}</text>')
        for j, kind in enumerate(kinds):
            if kind not in median or not median.get("ext4"):
                continue
            w = median[kind] / median["ext4"] * scale
            at = y + j * bar
            out.append(f'<rect x="{left}" y="{at}" width="{w:.1f}" height="{bar - 2}" '
                       f'fill="{COLORS.get(kind, "black")}"/>'
                       f'<text x="{left + w + 4:.1f}" y="{at + 9}" font-size="9">'
                       f'{median[kind] / median["ext4"]:.2f} ({median[kind]:,.0f})</text>')
        if target:
            x = left + target * scale
            out.append(f'<line x1="{x:.1f}" y1="{y - 3}" x2="{x:.1f}" y2="{y + row_height - gap + 2}" '
                       'stroke="black" stroke-dasharray="2,2"/>')
    out.append(f'<text x="10" y="{height - 10}" fill="#555">dashed: the most that rext4 may cost; '
               'in brackets: instructions</text></svg>')
    path.write_text("\n".join(out) + "\n")


def main():
    folder = pathlib.Path(sys.argv[1])
    data = read(folder / "raw.tsv")
    present = {kind for by_kind in data.values() for kind in by_kind}
    kinds = [k for k in ("ext4", "xfs", "rext4") if k in present]
    rows = summarize(data)
    missed = table(rows, kinds)
    write_tsv(rows, kinds, folder / "results.tsv")
    write_svg(rows, kinds, folder / "plot.svg")
    print(f"# {folder}/results.tsv, {folder}/plot.svg")
    if "rext4" not in kinds:
        print("# no rext4 in this run: no target was checked")
    elif missed:
        print(f"# {missed} targets missed")
    else:
        print("# all targets met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
