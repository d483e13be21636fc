"""What one stage of the decision found out: an action, or a summary of the state.

Values only; `decide` turns it into a Plan.
"""

from dataclasses import dataclass

from finetune_api.status import FineTuneJobStatus
from finetune_operator.core.conditions import Summary
from finetune_operator.core.plan import Action


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a stage decided.

    `status` is the status with the stage's own fields (absent: unchanged), `summary` what the
    conditions say, `finished` makes the job terminal, `again` asks for another decision at once
    after the status is written, `look_again_after` is in seconds.
    """

    action: Action | None = None
    status: FineTuneJobStatus | None = None
    summary: Summary | None = None
    finished: bool = False
    again: bool = False
    look_again_after: float | None = None
