"""The two larger projects: a suite of pytest-benchmark, and a program in C timed by hyperfine."""

from __future__ import annotations

SUITE = {
    "wordcount.py": '''"""Count words."""

PASSES = 12


def count(text):
    for _ in range(PASSES):
        found = {}
        for word in text.split():
            found[word] = found.get(word, 0) + 1
    return found
''',
    "tests/test_speed.py": """import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
from wordcount import count

TEXT = "the cat and the dog and the bird " * 2000


def test_counting(benchmark):
    found = benchmark(count, TEXT)
    assert found == {"the": 6000, "cat": 2000, "and": 4000, "dog": 2000, "bird": 2000}
""",
}
SUITE_RUN = (
    "env PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 python -m pytest -q -p pytest_benchmark.plugin "
    "-p no:cacheprovider tests --benchmark-json=bench.json "
    "--benchmark-min-rounds=3 --benchmark-max-time=0.02 --benchmark-warmup=off "
    "--benchmark-timer=time.process_time"
)
TIMED = {
    "sum.c": """#include <stdio.h>
#include <stdint.h>

#define PASSES 160

int main(void) {
    uint32_t sum = 0;
    for (int pass = 0; pass < PASSES; pass++) {
        sum = 0;
        for (uint32_t i = 0; i < 200000; i++) {
            __asm__ volatile("" : "+r"(i));
            sum = sum * 31 + i;
        }
    }
    printf("%u\\n", sum);
    return 0;
}
""",
    "Makefile": "sum: sum.c\n\t$(CC) -O1 -o sum sum.c\n",
    "check.sh": '#!/bin/sh\n[ "$(./sum)" = "$(cat expected.txt)" ]\n',
}


def expected_sum() -> int:
    """What the program prints."""
    total = 0
    for i in range(200_000):
        total = (total * 31 + i) % 2**32
    return total


TIMED["expected.txt"] = f"{expected_sum()}\n"
TIMED_RUN = "hyperfine -N --warmup 1 --runs 3 --export-json times.json ./sum"
