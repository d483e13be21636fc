"""The command line: up, down, env, load, build and status."""

import argparse
import shlex
import sys
from collections.abc import Sequence

from cluster import binaries, environment, existing, full, images
from cluster.progress import Progress
from cluster.settings import ClusterError


def main(arguments: Sequence[str]) -> int:
    """Run one command; return the exit status."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        if given.context:
            existing.choose(given.context)
        _COMMANDS[given.command](given)
    except ClusterError as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cluster",
        description="A real single-node Kubernetes on this machine. "
        "With KUBECONFIG or --context set, that cluster is used instead.",
    )
    parser.add_argument(
        "--context", help="use this context of your kubeconfig; `env` tells it to other programs"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("up", help="start the cluster, or what of it does not run")
    commands.add_parser("down", help="end it and undo what it did to this machine")
    commands.add_parser("env", help="print the exports that point kubectl and helm to it")
    commands.add_parser("status", help="say what runs")
    build = commands.add_parser("build", help="build the programs only")
    build.add_argument("--kwok", action="store_true", help="kwok too, for runs at scale")
    load = commands.add_parser("load", help="make a local image known to the cluster")
    load.add_argument("image", help="its name in buildah's storage")
    return parser


def _up(_: argparse.Namespace) -> None:
    if existing.chosen():
        print(existing.check(), file=sys.stderr)
        return
    with Progress() as progress:
        full.up(progress)


def _down(_: argparse.Namespace) -> None:
    if existing.chosen():
        raise ClusterError("the cluster in use is your own: `down` leaves it alone")
    full.down()


def _env(_: argparse.Namespace) -> None:
    for name, value in environment.variables().items():
        print(f"export {name}={shlex.quote(value)}")


def _status(_: argparse.Namespace) -> None:
    if existing.chosen():
        print(existing.check())
        return
    for line in full.status():
        print(line)


def _build(given: argparse.Namespace) -> None:
    modules: tuple[binaries.Module, ...] = binaries.NODE
    if existing.chosen():  # its tests need a control plane of ours, but no node
        modules = binaries.CONTROL_PLANE
    if given.kwok:
        modules += (binaries.KWOK,)
    with Progress() as progress:
        binaries.build(modules, progress)


def _load(given: argparse.Namespace) -> None:
    print(images.push(given.image))


_COMMANDS = {
    "up": _up,
    "down": _down,
    "env": _env,
    "status": _status,
    "build": _build,
    "load": _load,
}
