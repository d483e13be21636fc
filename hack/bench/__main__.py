"""`make bench`: runs all parts, or the ones named: `python -m bench [operator] [hosted] [trainer]`.

Each part is a module with `main(arguments)`; it prints its figures and writes docs/benchmarks/.
"""

import argparse
import importlib
import sys

_PARTS = ("operator", "hosted", "trainer")


def main() -> int:
    """Run the parts one after the other; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(_PARTS)}")
    parts = parser.parse_args().parts or _PARTS
    if unknown := sorted(set(parts) - set(_PARTS)):
        parser.error(f"no such part: {', '.join(unknown)}")
    for part in parts:
        print(f"bench: {part}", file=sys.stderr, flush=True)
        status = int(importlib.import_module(f"bench.{part}").main([]))
        if status:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
