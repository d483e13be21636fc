"""The command line: up, down, env, load, build and status."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from cluster import binaries, existing, full, images
from cluster.progress import Progress
from cluster.settings import ClusterError


def main(arguments: Sequence[str]) -> int:
    """Run one command; return the exit status."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
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
    parser.add_argument("--context", help="use this context of your kubeconfig")
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


def _up(given: argparse.Namespace) -> None:
    if existing.chosen(given.context):
        print(existing.check(given.context), file=sys.stderr)
        return
    with Progress() as progress:
        full.up(progress)


def _down(given: argparse.Namespace) -> None:
    if existing.chosen(given.context):
        raise ClusterError("the cluster in use is your own: `down` leaves it alone")
    full.down()


def _env(given: argparse.Namespace) -> None:
    tools = [str(binaries.binary_folder()), str(Path(sys.executable).parent)]
    if not existing.chosen(given.context):
        print(f"export KUBECONFIG={full.kubeconfig()}")
    print(f"export PATH={os.pathsep.join(tools)}{os.pathsep}$PATH")


def _status(given: argparse.Namespace) -> None:
    if existing.chosen(given.context):
        print(existing.check(given.context))
        return
    for line in full.status():
        print(line)


def _build(given: argparse.Namespace) -> None:
    modules = (*binaries.NODE, binaries.KWOK) if given.kwok else binaries.NODE
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
