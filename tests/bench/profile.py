#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Says in which functions the instructions of a row are spent, for C ext4, rext4 and XFS side by side, and by
which calls they were reached.

usage: profile.py FOLDER [LIMIT [ROW]...]

FOLDER has what `run.sh --profile` leaves: blocks and blocks.tree (profile.c), kallsyms, raw.tsv. Figures are
instructions per unit of the row. In the table they are those of the function itself (without what it calls), and
behind `x` how often it was entered. In the trees they include what it calls, behind `self` is what it spends
itself; the top of a tree are user space and kernel threads, tasks being put together. Code in user space is one
line. Functions below LIMIT (default 0.5) percent of the row are summed up in the table, and left out of the
trees.
"""

import bisect
import collections
import pathlib
import sys

FILE_SYSTEMS = ("ext4", "rext4", "xfs")


class Symbols:
    """Names of addresses."""

    def __init__(self, path):
        table = []
        for line in path.read_text().splitlines():
            address, kind, name = line.split(maxsplit=2)
            if kind in "tTwW":
                table.append((int(address, 16), name.replace("\t", " ")))
        table.sort()
        self.addresses = [a for a, _ in table]
        self.names = [n for _, n in table]

    def find(self, address):
        """The function at an address, and whether it begins there."""
        if address < 1 << 63:
            return "(user space)", False
        at = bisect.bisect_right(self.addresses, address) - 1
        return self.names[at], self.addresses[at] == address


class Node:
    """A function as it was reached by a way of calls."""

    def __init__(self):
        self.own = self.calls = self.total = 0
        self.children = collections.defaultdict(Node)

    def sum_up(self):
        self.total = self.own + sum(child.sum_up() for child in self.children.values())
        return self.total

    def show(self, units, limit, name, depth=0):
        if self.total / units < limit:
            return
        print(f"{self.total / units:>10.0f} {self.own / units:>8.0f} self  x{self.calls / units:<6.4g} "
              + "  " * depth + name)
        for name, child in sorted(self.children.items(), key=lambda item: -item[1].total):
            child.show(units, limit, name, depth + 1)


def read_trees(path, symbols):
    """The trees by mark. What is the same by name is one."""
    trees, nodes = {}, {}
    for line in path.read_text().splitlines():
        number, parent, mark, address, own, calls = line.split()
        if parent == "-1":
            node = trees[int(mark)] = Node()
        else:
            node = nodes[parent].children[symbols.find(int(address, 16))[0]]
        node.own += int(own)
        node.calls += int(calls)
        nodes[number] = node
    for tree in trees.values():
        tree.sum_up()
    return trees


def show_table(kinds, spent, entered, percent):
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
    return limit


def main():
    folder = pathlib.Path(sys.argv[1])
    percent = float(sys.argv[2]) if len(sys.argv) > 2 else 0.5
    wanted = sys.argv[3:]
    symbols = Symbols(folder / "kallsyms")
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
        mark = int(mark)
        name, is_entry = symbols.find(int(address, 16))
        if is_entry:
            calls[mark][name] += int(times)
        counts[mark][name] += int(size) * int(times)
    trees = read_trees(folder / "blocks.tree", symbols)
    for row in wanted or rows:
        kinds = [fs for fs in FILE_SYSTEMS if (fs, row) in runs]
        spent, entered = {}, {}
        for fs in kinds:
            mark, units = runs[fs, row]
            spent[fs] = {name: n / units for name, n in counts[mark].items()}
            entered[fs] = {name: n / units for name, n in calls[mark].items()}
        print(f"\n== {row}")
        limit = show_table(kinds, spent, entered, percent)
        for fs in kinds:
            mark, units = runs[fs, row]
            if mark in trees:
                print(f"\n-- {row}: {fs}, by calls")
                trees[mark].show(units, limit, "(all)")


if __name__ == "__main__":
    main()
