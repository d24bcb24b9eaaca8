#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Shows the benchmark's raw.tsv as a table, results.tsv and results.svg, and judges it.

usage: report.py [--report-only] FOLDER

Status 1 when rext4 misses a target, or could not be measured where it has one. A figure is the median of
the repetitions; the spread is how far apart the least and the most are, in percent of it. Rows of changes
(fsbench's changes.c) include the commit and the writeback of what they change. threads.tsv has
files per second, in pairs: the median of the pairs' ratios counts.
"""

import collections
import pathlib
import statistics
import sys
from xml.sax.saxutils import escape

# What rext4 may cost at most, as a multiple of what C ext4 costs in the same run.
TARGETS = {
    "cached 4k read": 1.0,
    "cached 1M read": 1.0,
    "cold 1M read": 1.0,
    "direct 4k read": 1.0,
    "stat hot": 1.0,
    "cold stat, readdir order": 0.7,
    "cold stat, name order": 0.7,
    "readdir cold": 0.7,
    "readdir warm": 0.7,
    "create": 0.5,
    "rename": 0.5,
    "unlink": 0.5,
    "mkdir": 0.5,
    "rmdir": 0.5,
    "symlink": 0.7,
    "link": 0.7,
    "setxattr": 0.7,
}
# Of what is written, rext4 may cost as much as the better of the two.
BEST = {
    "1k write", "4k write", "64k write", "1M write", "4k overwrite", "writeback", "4k append+fsync",
    "4k into holes", "writeback of holes", "mmap write fault", "direct 4k overwrite", "direct 4k append",
    "fallocate 256k", "punch 128k", "create+8k write", "sync of 8k files", "unlink 8k",
}
# What rext4 has to reach at least, as a multiple of C ext4's files per second.
RATE_TARGET = 0.95
RATE_NAME = "8 threads create, 2 CPUs"
LABELS = {"ext4": "C ext4", "xfs": "XFS", "rext4": "rext4"}
KINDS = {"ext4": "#8c8c8c", "xfs": "#4c78a8", "rext4": "#e45756"}

Cost = collections.namedtuple("Cost", "median spread")
# `judged` is the ratio that `target` is for: to C ext4, or to the better of C ext4 and XFS.
Row = collections.namedtuple("Row", "name unit costs ratio judged target")


def read(path):
    """The rows, in the order of first appearance."""
    costs, units = {}, {}
    for line in path.read_text().splitlines()[1:]:
        kind, name, unit, median, least, most, *_ = line.split("\t")
        median = float(median)
        if median <= 0:
            sys.exit(f"report.py: {kind}, {name}: {median} instructions cannot be")
        units[name] = unit
        costs.setdefault(name, {})[kind] = Cost(median, (float(most) - float(least)) / median * 100)
    rows = []
    for name, by_kind in costs.items():
        ratio = None
        if "ext4" in by_kind and "rext4" in by_kind:
            ratio = by_kind["rext4"].median / by_kind["ext4"].median
        judged, target = ratio, TARGETS.get(name)
        if name in BEST:
            others = [cost.median for kind, cost in by_kind.items() if kind != "rext4"]
            judged = by_kind["rext4"].median / min(others) if others and "rext4" in by_kind else None
            target = 1.0
        rows.append(Row(name, units[name], by_kind, ratio, judged, target))
    return rows


def verdict(row):
    if row.target is None:
        return ""
    if row.judged is None:
        return "NOT MEASURED"
    return "met" if row.judged <= row.target else "MISSED"


def show(rows, kinds):
    print(f"{'instructions per operation':<26} {'per':<6}" + "".join(f"{k:>17}" for k in kinds)
          + f"{'rext4/ext4':>12}{'rext4/xfs':>11}  target")
    for row in rows:
        line = f"{row.name:<26} {row.unit:<6}"
        for kind in kinds:
            cost = row.costs.get(kind)
            line += f"{cost.median:>10,.0f} ±{cost.spread / 2:4.2f}%" if cost else f"{'-':>17}"
        line += f"{row.ratio:>12.3f}" if row.ratio else f"{'-':>12}"
        if "xfs" in row.costs and "rext4" in row.costs:
            line += f"{row.costs['rext4'].median / row.costs['xfs'].median:>11.3f}"
        else:
            line += f"{'-':>11}"
        of = " of the better" if row.name in BEST else ""
        print(line + (f"  <= {row.target:.1f}{of} {verdict(row)}" if row.target else ""))


def read_pairs(path):
    """Files per second of C ext4 and rext4, pair by pair."""
    if not path.exists():
        return []
    return [tuple(map(float, line.split("\t"))) for line in path.read_text().splitlines()[1:]]


def show_pairs(pairs):
    """Prints the row and returns its verdict."""
    ratios = sorted(rext4 / ext4 for ext4, rext4 in pairs)
    ratio = statistics.median(ratios)
    met = "met" if ratio >= RATE_TARGET else "MISSED"
    ext4, rext4 = (statistics.median(side) for side in zip(*pairs))
    print(f"{RATE_NAME}: {ext4:,.0f} files/s with C ext4, {rext4:,.0f} with rext4; median of {len(pairs)} "
          f"paired ratios {ratio:.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})  >= {RATE_TARGET} {met}")
    return met


def write_tsv(rows, kinds, path):
    lines = ["row\tunit\t" + "\t".join(f"{k}\t{k} spread %" for k in kinds)
             + "\trext4/ext4\ttarget\tverdict"]
    for row in rows:
        cells = [row.name, row.unit]
        for kind in kinds:
            cost = row.costs.get(kind)
            cells += [f"{cost.median:.1f}", f"{cost.spread:.3f}"] if cost else ["", ""]
        cells += [f"{row.ratio:.4f}" if row.ratio else "", str(row.target or ""), verdict(row)]
        lines.append("\t".join(cells))
    path.write_text("\n".join(lines) + "\n")


def write_svg(rows, kinds, path):
    """Grouped bars relative to C ext4, because the operations differ by orders of magnitude."""
    left, width, right, bar, gap, top = 190, 460, 130, 13, 14, 62
    group = len(kinds) * bar + gap
    height = top + len(rows) * group + 14
    relative = [r.costs[k].median / r.costs["ext4"].median
                for r in rows for k in kinds if k in r.costs and "ext4" in r.costs]
    scale = width / max(relative + [1.1])
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + right}" height="{height}" '
        f'viewBox="0 0 {left + width + right} {height}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        '<text x="12" y="22" font-size="15">Instructions per operation (C ext4 = 1; less is better)</text>',
    ]
    labels = []
    x = left
    for kind in kinds:
        out.append(f'<rect x="{x}" y="36" width="11" height="11" fill="{KINDS[kind]}"/>'
                   f'<text x="{x + 16}" y="46">{LABELS[kind]}</text>')
        x += 80
    out.append(f'<line x1="{x}" y1="42" x2="{x + 22}" y2="42" stroke="black" stroke-width="1.5" '
               f'stroke-dasharray="4,2"/><text x="{x + 28}" y="46">the most that rext4 may cost</text>')
    for i, row in enumerate(rows):
        if "ext4" not in row.costs:
            continue
        y = top + i * group
        out.append(f'<text x="{left - 10}" y="{y + len(kinds) * bar / 2 + 4:.1f}" text-anchor="end">'
                   f'{escape(row.name)}</text>')
        for j, kind in enumerate(kinds):
            if kind not in row.costs:
                continue
            cost = row.costs[kind].median
            times = cost / row.costs["ext4"].median
            at = y + j * bar
            out.append(f'<rect x="{left}" y="{at}" width="{times * scale:.1f}" height="{bar - 2}" '
                       f'fill="{KINDS[kind]}"/>')
            # With a rim of white, for where the line of the target runs through.
            labels.append(f'<text x="{left + times * scale + 5:.1f}" y="{at + 10}" font-size="10" '
                          'stroke="white" stroke-width="3" paint-order="stroke">'
                          f'{times:.2f} ({cost:,.0f})</text>')
        if row.target:
            x = left + row.target * scale
            out.append(f'<line x1="{x:.1f}" y1="{y - 4}" x2="{x:.1f}" y2="{y + len(kinds) * bar + 2}" '
                       'stroke="black" stroke-width="1.5" stroke-dasharray="4,2"/>')
    out += labels + ["</svg>"]
    path.write_text("\n".join(out) + "\n")


def main():
    arguments = sys.argv[1:]
    report_only = arguments[:1] == ["--report-only"]
    folder = pathlib.Path(arguments[-1])
    rows = read(folder / "raw.tsv") if (folder / "raw.tsv").exists() else []
    pairs = read_pairs(folder / "threads.tsv")
    if not rows and not pairs:
        sys.exit("report.py: nothing was measured")
    verdicts = {}
    if rows:
        kinds = [kind for kind in KINDS if any(kind in row.costs for row in rows)]
        show(rows, kinds)
        write_tsv(rows, kinds, folder / "results.tsv")
        write_svg(rows, kinds, folder / "results.svg")
        verdicts = {row.name: verdict(row) for row in rows if verdict(row)}
    if pairs:
        verdicts[RATE_NAME] = show_pairs(pairs)
    missed = [name for name, said in verdicts.items() if said != "met"]
    print(f"{len(verdicts) - len(missed)} of {len(verdicts)} targets met"
          + (f"; missed: {'; '.join(missed)}" if missed else ""))
    return 1 if missed and not report_only else 0


if __name__ == "__main__":
    sys.exit(main())
