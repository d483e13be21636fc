"""Whose an output folder is: that of the first FineTuneJob which writes there, for good.

Two jobs in one folder would remove each other's checkpoints and replace each other's results; so
would one whose folder lies inside what another writes. Knows files; must not know whether the other
job still runs: a paused one has no pod either.
"""

import errno
import json
import os
import tempfile
from pathlib import Path

from finetune_api.constants import OUTPUT_DIR
from finetune_api.reasons import ExitCode, Reason
from finetune_trainer.checkpoints import FOLDER
from finetune_trainer.errors import TrainerError, bad_config
from finetune_trainer.export import REPORT, RESULT
from finetune_trainer.settled import FILE as RESOLVED
from finetune_trainer.story import write_json

OWNER = "owner"
_FILE = "job.json"
_MANAGED = frozenset({FOLDER, RESULT, REPORT, RESOLVED, OWNER})
_SCRATCH = (".owner-", ".result-", ".writing-")
"""How the names begin that files and folders have until they are complete."""


def take(output: Path, job: str, uid: str) -> None:
    """Make the folder, and make it this job's; or see that it is.

    Raises:
        TrainerError: it cannot be made, is another job's, lies inside what a job writes, or holds
            what another job or nobody is known to have written.
    """
    _refuse_nested(output)
    _make(output)
    if _owner(output) is None:
        _refuse_strangers(output)
        _write(output, {"job": job, "uid": uid})
    _refuse_guests(output)
    found = _owner(output)
    if found is None or found["uid"] != uid:
        whose = f"{found['job']} (uid {found['uid']})" if found else "that nobody can name"
        raise _in_use(output, f"belongs to FineTuneJob {whose}")


def _owner(output: Path) -> dict[str, str] | None:
    try:
        owner: dict[str, str] = json.loads((output / OWNER / _FILE).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    return owner


def _make(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise bad_config(
            f"The output folder {output} cannot be made ({error.strerror}): "
            "check the output volume and its permissions."
        ) from error
    if not os.access(output, os.W_OK | os.X_OK):
        raise bad_config(
            f"The output folder {output} is not writable by user {os.getuid()}: "
            "check the output volume's permissions."
        )


def _write(output: Path, owner: dict[str, str]) -> None:
    """A folder takes its name in one step and with its content, and never one that is taken."""
    with tempfile.TemporaryDirectory(dir=output, prefix=".owner-") as scratch:
        new = Path(scratch) / "new"
        new.mkdir()
        write_json(new / _FILE, json.dumps(owner))
        try:
            new.rename(output / OWNER)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise


def _managed(name: str) -> bool:
    """Whether the owner of a folder replaces or removes what has this name in it."""
    return name in _MANAGED or name.startswith(_SCRATCH)


def _refuse_nested(output: Path) -> None:
    """Looked up before the folder is made; a job does not fit into its own result either."""
    real = output.resolve()
    for child in (real, *real.parents):
        owner = _owner(child.parent)
        if owner is not None and _managed(child.name):
            why = f"lies inside {child.name} of FineTuneJob {owner['job']} (uid {owner['uid']})"
            raise _elsewhere(output, why)


def _refuse_guests(output: Path) -> None:
    """Jobs that were nested before that was refused, or in this very moment.

    os.walk passes over what another job's process removes meanwhile, such as its scratch folders.
    """
    names = sorted(path.name for path in output.iterdir() if _managed(path.name))
    for name in names:
        for folder, _, _ in os.walk(output / name):
            guest = _owner(Path(folder))
            if guest is not None:
                raise _in_use(output, f"holds, in {name}, the output of FineTuneJob {guest['job']}")


def _refuse_strangers(output: Path) -> None:
    for name in (FOLDER, RESULT, REPORT):
        if (output / name).exists():
            raise _in_use(output, f"holds {name}, which no FineTuneJob is known to have written")


def _in_use(output: Path, why: str) -> TrainerError:
    return _elsewhere(output, why, ", or remove that folder and ask for a retry")


def _elsewhere(output: Path, why: str, otherwise: str = "") -> TrainerError:
    shown = str(output).removeprefix(f"{OUTPUT_DIR}/")
    return TrainerError(
        ExitCode.BAD_CONFIG,
        Reason.NAME_CONFLICT,
        f"The folder {shown} of the output volume {why}: give another output.volume.path in a new"
        f" FineTuneJob{otherwise}.",
    )
