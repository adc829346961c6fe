"""Two moments of a process, both idle: what it holds more of at the second is a leak."""

from collections import Counter
from collections.abc import Mapping

from scripts.leak_test_harness.census import Census

Pools = Mapping[str, int]
"""Threads that come when they are needed and may stay, by name, and how many of them there may be."""


def compare(warm: Census, last: Census, pools: Pools) -> list[str]:
    """Every kind of which there is more, and every pool above its bound. Fewer is no leak."""
    complaints = _more("descriptors", warm.descriptors, last.descriptors)
    complaints += _more("connections", warm.connections, last.connections)
    complaints += _more("tasks", warm.tasks, last.tasks)
    complaints += _more("threads", _without(warm.threads, pools), _without(last.threads, pools))
    for name, most in pools.items():
        if last.threads[name] > most:
            complaints.append(f"threads: {name}: {last.threads[name]} at the end, a pool of at most {most}")
    unseen = last.system_threads - last.threads.total()
    if unseen > warm.system_threads - warm.threads.total():
        complaints.append(f"threads: {unseen} of the system's are none of Python's")
    return complaints


def _more(what: str, warm: Counter[str], last: Counter[str]) -> list[str]:
    return [
        f"{what}: {name}: {warm[name]} at the warm level, {count} at the end"
        for name, count in sorted(last.items())
        if count > warm[name]
    ]


def _without(threads: Counter[str], pools: Pools) -> Counter[str]:
    return Counter({name: count for name, count in threads.items() if name not in pools})


def growth(middle: Census, last: Census, most_kib: int) -> list[str]:
    """Memory that grows with the work, beyond what the allocator keeps."""
    grown = last.rss_kib - middle.rss_kib
    if grown <= most_kib:
        return []
    return [f"memory: {grown / 1024:.1f} MiB more than at half-time, at most {most_kib / 1024:g} are explained"]
