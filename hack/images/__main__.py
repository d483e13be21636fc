"""The command line: build the images, or say how they are called."""

import argparse
import sys
from collections.abc import Sequence

from cluster import images as registry
from cluster.packages import IMAGES, install, require_root
from cluster.progress import Progress
from cluster.settings import ClusterError
from images.build import build
from images.recipes import RECIPES


def main(arguments: Sequence[str]) -> int:
    """Run one command; return the exit status."""
    given = _parser().parse_args(arguments)
    try:
        if given.command == "build":
            _build(given.names or list(RECIPES), push=given.push)
        else:
            print(registry.reference(RECIPES[given.name].tag()))
    except ClusterError as error:
        print(f"images: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="images",
        description="Container images without Docker. An image's tag is a digest of all that "
        "goes into it.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    build_parser = commands.add_parser("build", help="build images that are not up to date")
    build_parser.add_argument("names", nargs="*", choices=[*RECIPES, []], metavar="NAME")
    build_parser.add_argument("--push", action="store_true", help="and load them into the cluster")
    reference = commands.add_parser("reference", help="print the name that pods use for an image")
    reference.add_argument("name", choices=RECIPES)
    return parser


def _build(names: Sequence[str], *, push: bool) -> None:
    require_root()
    if push:
        registry.require_registry()
    tags = {name: RECIPES[name].tag() for name in names}
    with Progress() as progress:
        install(IMAGES, progress)
        build(tags, progress)
        for name in names if push else ():
            with progress.stage(f"push {name}"):
                registry.push(tags[name])
    for name, tag in tags.items():
        print(name, registry.reference(tag))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
