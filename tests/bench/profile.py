#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Says in which functions the instructions of a row are spent, for C ext4 and rext4 side by side.

usage: profile.py FOLDER [LIMIT [ROW]...]

FOLDER has what `run.sh --profile` leaves: blocks (profile.c), kallsyms, raw.tsv. Figures are
instructions per unit of the row, in the function itself (without what it calls), and behind `x` how
often it was entered. Code in user space is one line. Functions below LIMIT (default 0.5) percent of
the row are summed up.
"""

import bisect
import collections
import pathlib
import sys

FILE_SYSTEMS = ("ext4", "rext4", "xfs")


def symbols(path):
    table = []
    for line in path.read_text().splitlines():
        address, kind, name = line.split(maxsplit=2)
        if kind in "tTwW":
            table.append((int(address, 16), name.replace("\t", " ")))
    table.sort()
    return [a for a, _ in table], [n for _, n in table]


def main():
    folder = pathlib.Path(sys.argv[1])
    percent = float(sys.argv[2]) if len(sys.argv) > 2 else 0.5
    wanted = sys.argv[3:]
    addresses, names = symbols(folder / "kallsyms")
    rows, runs = [], {}
    for line in (folder / "raw.tsv").read_text().splitlines()[1:]:
        fs, row, _, _, _, _, mark, units = line.split("\t")
        runs[fs, row] = int(mark), int(units)
        if row not in rows:
            rows.append(row)
    counts = collections.defaultdict(collections.Counter)
    calls = collections.defaultdict(collections.Counter)
    for line in (folder / "blocks").read_text().splitlines():
        mark, address, size, times = line.split()
        mark, address = int(mark), int(address, 16)
        name = "(user space)"
        if address >= 1 << 63:
            at = bisect.bisect_right(addresses, address) - 1
            name = names[at]
            if addresses[at] == address:
                calls[mark][name] += int(times)
        counts[mark][name] += int(size) * int(times)
    for row in wanted or rows:
        kinds = [fs for fs in FILE_SYSTEMS if (fs, row) in runs]
        spent, entered = {}, {}
        for fs in kinds:
            mark, units = runs[fs, row]
            spent[fs] = {name: n / units for name, n in counts[mark].items()}
            entered[fs] = {name: n / units for name, n in calls[mark].items()}
        print(f"\n== {row}")
        print("".join(f"{fs:>17}" for fs in kinds) + "  function")
        total = [sum(spent[fs].values()) for fs in kinds]
        print("".join(f"{n:>10.0f}       " for n in total) + "  all")
        limit = percent / 100 * max(total)
        rest = [0.0] * len(kinds)
        shown = []
        for name in set().union(*(spent[fs] for fs in kinds)):
            cells = [spent[fs].get(name, 0.0) for fs in kinds]
            if max(cells) < limit:
                rest = [a + b for a, b in zip(rest, cells)]
            else:
                shown.append((cells, name))
        shown.sort(key=lambda line: (-max(line[0][:2]), line[1]))
        for cells, name in shown:
            line = ""
            for fs, cell in zip(kinds, cells):
                line += f"{cell:>10.1f} x{entered[fs].get(name, 0.0):<5.4g}" if cell else " " * 17
            print(line + "  " + name)
        print("".join(f"{n:>10.1f}       " for n in rest) + "  (smaller ones)")


if __name__ == "__main__":
    main()
