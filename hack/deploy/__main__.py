"""The command line of `make deploy` and `make undeploy`."""

import argparse
import sys

from cluster.progress import Progress
from cluster.settings import ClusterError
from deploy import install


def main() -> int:
    """Run; return the exit status."""
    parser = argparse.ArgumentParser(prog="deploy", description=__doc__)
    parser.add_argument("--remove", action="store_true", help="take it away again")
    given = parser.parse_args()
    try:
        with Progress() as progress:
            if given.remove:
                install.remove(progress)
            else:
                install.deploy(progress, install.bring_up(progress))
    except ClusterError as error:
        print(f"deploy: {error}", file=sys.stderr)
        return 1
    return 0


sys.exit(main())
