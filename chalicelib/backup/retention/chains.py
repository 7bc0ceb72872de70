"""Which sets need which others, and in which order sets can go. Pure.

A set goes or stays as a whole, so one that stays needs the chains of all its tables, also where it only stays for
another one's sake. Such needs end at a set in which every table is a full export. Where there never is one, because
each table has its full exports on other days, nothing ever goes.
"""

import heapq
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

Bases = Mapping[str, frozenset[str]]


def needed_by(kept: Iterable[str], bases: Bases) -> dict[str, list[str]]:
    """Each set that a kept one builds on, at first or second hand, with all kept ones that name it, by name.

    `bases`: of each set, those that its tables name. What is not in it is not there, and needs nothing.
    """
    needers: dict[str, list[str]] = {}
    waiting = list(kept)
    seen = set(waiting)
    while waiting:
        name = waiting.pop()
        for base in bases[name]:
            if base in bases:
                needers.setdefault(base, []).append(name)
                if base not in seen:
                    seen.add(base)
                    waiting.append(base)
    return {base: sorted(names) for base, names in needers.items()}


def removal_order(newest_first: Sequence[str], bases: Bases) -> tuple[str, ...]:
    """Each set before those it builds on; else newest first. If the removing stops anywhere, what is left builds on
    nothing that is gone.

    By name alone it would not be so: the set of a day may have been taken after one asked for by hand that day. Sets
    that build on each other, which no export can, go newest first.
    """
    rank = {name: number for number, name in enumerate(newest_first)}
    dependants = Counter(base for name in newest_first for base in bases[name] if base in rank)
    free = [rank[name] for name in newest_first if not dependants[name]]
    blocked = [name for name in reversed(newest_first) if dependants[name]]
    order: dict[str, None] = {}
    while len(order) < len(rank):
        name = newest_first[heapq.heappop(free)] if free else blocked.pop()
        if name in order:
            continue
        order[name] = None
        for base in bases[name] & rank.keys():
            dependants[base] -= 1
            if not dependants[base]:
                heapq.heappush(free, rank[base])
    return tuple(order)


def bases_of(name: str, tables: Mapping[str, Collection[str]]) -> frozenset[str]:
    """All sets that the tables of one set build on; itself is none of them."""
    return frozenset(base for bases in tables.values() for base in bases if base != name)
