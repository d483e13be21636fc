"""Runs a python grader: one order on standard input, one answer on standard output, both JSON.

A program of its own, started for every call with `python -I`; imports nothing of the emulator.
It gives up what it can give up without being root, before a line of the grader has run.
"""

import ctypes
import json
import os
import resource
import sys
from typing import Any

_MEMORY_BYTES = 2 * 1024**3
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000


def main() -> None:
    """Answer with `reward`, or with `error` if the grader raised one."""
    order = json.load(sys.stdin)
    answers = os.fdopen(os.dup(1), "w")
    silence = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(silence, stream)
    _give_up(order["seconds"])
    json.dump(_answer(order), answers)
    answers.close()


def _answer(order: dict[str, Any]) -> dict[str, Any]:
    scope: dict[str, Any] = {"__name__": "grader"}
    try:
        exec(compile(order["source"], "grader.py", "exec"), scope)
        return {"reward": float(scope["grade"](order["sample"], order["item"]))}
    except BaseException as error:  # whatever it is, it is the grader's
        return {"error": f"{type(error).__name__}: {error}"[:1000]}


def _give_up(seconds: int) -> None:
    """Time, memory and files by limits that hold; the network where the kernel lets us."""
    for limit, most in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, _MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (most, most))
    ctypes.CDLL(None).unshare(_CLONE_NEWUSER | _CLONE_NEWNET)


if __name__ == "__main__":
    main()
