"""New jobs and their data: from nothing to a good report, or to an end that says what to do."""

import pytest

from finetune_api.constants import RETRY_ANNOTATION
from finetune_api.job import FineTuneJob
from finetune_api.pods import BadRow, PrepareReport
from finetune_api.reasons import ConditionType, Phase, Reason
from finetune_api.status import ConditionStatus, FineTuneJobStatus
from finetune_operator.core import conditions, names
from finetune_operator.core.decide import decide
from finetune_operator.core.observed import ChildState
from finetune_operator.core.plan import (
    Action,
    Authenticate,
    CreatePrepare,
    DeleteChild,
    Plan,
    ReadPods,
    WriteStatus,
)
from support.builders import (
    POLICY,
    a_child,
    a_data_report,
    a_job,
    a_pod,
    at,
    condition,
    prepared,
    seen,
    told,
)

DONE, GONE_WRONG = ChildState.COMPLETE, ChildState.FAILED
BAD = PrepareReport(
    ok=False,
    reason="DataInvalid",
    message="Training data (ConfigMap gsm8k/train.jsonl): 2 rows cannot be used (lines 37, 40); "
    "line 37: is not JSON; line 40: has no messages",
    bad_rows=[BadRow(line=37, problem="is not JSON"), BadRow(line=40, problem="has no messages")],
)
UNREACHABLE = PrepareReport(
    ok=False, transient=True, reason="DataUnavailable", message="example.com did not answer"
)
REFUSED = PrepareReport(
    ok=False, reason="AuthenticationFailed", message="The service refused the API key"
)


def test_a_job_is_never_silently_untouched() -> None:
    plan = decide(seen(a_job(status=FineTuneJobStatus())), POLICY)
    assert plan.action is None
    assert (plan.status.observed_generation, plan.status.phase) == (1, Phase.PENDING)
    ready = condition(plan.status, ConditionType.READY)
    assert ready is not None
    assert ready.status is ConditionStatus.UNKNOWN
    assert plan.look_again_after == 0


def test_a_retry_asked_for_in_the_manifest_itself_is_the_first_run() -> None:
    job = a_job(status=FineTuneJobStatus(), annotations={RETRY_ANNOTATION: "1"})
    assert decide(seen(job), POLICY).status.last_handled_retry_at == "1"


def test_columns_are_filled_at_once() -> None:
    status = decide(seen(a_job(hosted=True, status=FineTuneJobStatus())), POLICY).status
    got = (status.backend, status.method, status.model)
    assert got == ("AzureOpenAI", "Supervised", "gpt-4.1-mini-2025-04-14")


def _ended(job: FineTuneJob, state: ChildState, words: PrepareReport | str, **pod: object) -> Plan:
    child = a_child(job, prepare=0, state=state)
    phase = "Succeeded" if state is DONE else "Failed"
    return decide(seen(job, child, pods=(a_pod(child, phase=phase, words=words, **pod),)), POLICY)


@pytest.mark.parametrize(
    ("words", "pod", "want_reason", "want_in_message", "want_data_valid"),
    [
        pytest.param(
            BAD,
            {},
            Reason.DATA_INVALID,
            "line 37: is not JSON; line 40: has no messages",
            "False",
            id="broken rows are named by their lines",
        ),
        pytest.param(
            REFUSED,
            {},
            Reason.AUTHENTICATION_FAILED,
            "refused the API key",
            "Unknown",
            id="a wrong key says nothing of the data",
        ),
        pytest.param(
            PrepareReport(ok=False, reason="ConfigInvalid", message="maxSequenceLength is 513"),
            {},
            Reason.CONFIG_INVALID,
            "maxSequenceLength is 513",
            "Unknown",
            id="a setting says nothing of the data",
        ),
        pytest.param(
            "",
            {"exit_code": 137, "exit_reason": "OOMKilled"},
            Reason.OUT_OF_MEMORY,
            "smaller data file",
            "Unknown",
            id="killed at its memory limit",
        ),
    ],
)
@pytest.mark.parametrize("hosted", [False, True])
def test_data_that_cannot_be_used_ends_the_job_before_anything_starts(
    hosted: bool,
    words: PrepareReport | str,
    pod: dict[str, object],
    want_reason: Reason,
    want_in_message: str,
    want_data_valid: str,
) -> None:
    plan = _ended(a_job(hosted=hosted), GONE_WRONG, words, **pod)
    assert (plan.action, plan.status.phase) == (None, Phase.FAILED)
    assert want_in_message in (plan.status.message or "")
    ready = condition(plan.status, ConditionType.READY)
    data_valid = condition(plan.status, ConditionType.DATA_VALID)
    assert ready is not None
    assert data_valid is not None
    assert (ready.reason, data_valid.status) == (want_reason, want_data_valid)
    assert plan.status.started_generation is None
    assert plan.status.completion_time is not None


@pytest.mark.parametrize(
    ("retries", "since_end", "want", "want_look"),
    [
        pytest.param(0, 3, None, 7, id="the first retry waits 10 s"),
        pytest.param(0, 11, CreatePrepare(retry=1), None, id="then a new pod tries again"),
        pytest.param(2, 30, None, 10, id="the third waits 40 s"),
        pytest.param(4, 161, CreatePrepare(retry=5), None, id="the fifth and last"),
    ],
)
def test_a_pod_that_left_no_words_is_tried_again(
    retries: int, since_end: float, want: Action | None, want_look: float | None
) -> None:
    job = a_job()
    children = [
        a_child(job, prepare=number, state=GONE_WRONG, created=-600 + number)
        for number in range(retries + 1)
    ]
    pod = a_pod(children[-1], phase="Failed", finished=at(-since_end))
    plan = decide(seen(job, *children, pods=(pod,)), POLICY)
    assert plan.action == want
    if want is None:
        assert plan.look_again_after == want_look
        assert plan.status.phase == Phase.PREPARING


def test_a_pod_that_was_deleted_was_not_killed_for_its_memory() -> None:
    job = a_job()
    child = a_child(job, prepare=0, state=GONE_WRONG)
    pod = a_pod(child, phase="Failed", deleting=True, exit_code=137, exit_reason="Error")
    plan = decide(seen(job, child, pods=(pod,)), POLICY)
    assert plan.status.phase == Phase.PREPARING


@pytest.mark.parametrize(
    ("due", "want_stalled"),
    [
        pytest.param(-10, False, id="its node may only be slow"),
        pytest.param(-40, True, id="its node is lost: nobody replaces it before it is gone"),
    ],
)
def test_a_pod_that_does_not_stop_is_named(due: float, want_stalled: bool) -> None:
    job = a_job()
    child = a_child(job, prepare=0)
    pod = a_pod(child, name="prep-x", phase="Running", node="n1", deleting=True, due=at(due))
    plan = decide(seen(job, child, pods=(pod,)), POLICY)
    stalled = condition(plan.status, ConditionType.STALLED)
    assert (stalled is not None) == want_stalled
    assert ("Pod prep-x on node n1" in (plan.status.message or "")) == want_stalled
    if not want_stalled:
        assert plan.look_again_after == 20


ASKS = PrepareReport(
    ok=False, reason="AuthenticationFailed", message="Put in a valid key", waits_for_user=True
)


PASSING = [
    pytest.param(ASKS, id="a wrong key"),
    pytest.param(UNREACHABLE, id="a source that is away"),
]


def _asking(
    words: PrepareReport, tries: int, since_end: float, *, spared: int = 0, first: float = -1800
) -> Plan:
    """So many pods have met it, the first half an hour ago; `spared` of them were removed."""
    job = a_job(hosted=True)
    numbers = [0, *range(1 + spared, tries + spared)]
    children = [a_child(job, prepare=n, state=GONE_WRONG, created=first + n) for n in numbers]
    pod = a_pod(children[-1], phase="Failed", words=words, finished=at(-since_end))
    return decide(seen(job, *children, pods=(pod,)), POLICY)


@pytest.mark.parametrize(
    ("tries", "since_end", "spared", "want", "want_look", "want_said"),
    [
        pytest.param(1, 3, 0, None, 7, "once; next try at 12:00:07 UTC", id="not at once"),
        pytest.param(1, 11, 0, CreatePrepare, None, "", id="then by another pod"),
        pytest.param(
            4, 70, 0, None, 10, "4 times; next try at 12:00:10 UTC", id="less and less often"
        ),
        pytest.param(
            4, 70, 36, None, 10, "40 times; next try at 12:00:10 UTC", id="removed ones count"
        ),
        pytest.param(5, 161, 0, DeleteChild, None, "", id="old tries do not pile up"),
        pytest.param(5, 161, 40, DeleteChild, None, "", id="however long it lasts"),
    ],
)
@pytest.mark.parametrize("words", PASSING)
def test_what_may_pass_is_tried_for_ever(
    words: PrepareReport,
    tries: int,
    since_end: float,
    spared: int,
    want: type[Action] | None,
    want_look: float | None,
    want_said: str,
) -> None:
    plan = _asking(words, tries, since_end, spared=spared)
    assert plan.action is None if want is None else isinstance(plan.action, want)
    if want is None:
        assert plan.status.message == f"{words.message} (tried {want_said})"
        assert plan.look_again_after == want_look
        ready = condition(plan.status, ConditionType.READY)
        assert ready is not None
        assert (ready.reason, plan.status.phase) == (words.reason, Phase.PREPARING)


@pytest.mark.parametrize("words", PASSING)
@pytest.mark.parametrize(
    ("first", "want"),
    [
        pytest.param(-299, ConditionType.RECONCILING, id="short: it is being worked on"),
        pytest.param(-301, ConditionType.STALLED, id="long: somebody should look"),
    ],
)
def test_a_long_wait_is_stalled(words: PrepareReport, first: float, want: ConditionType) -> None:
    assert condition(_asking(words, 3, 5, first=first).status, want) is not None


@pytest.mark.parametrize("words", PASSING)
def test_a_wait_stays_what_it_is_while_the_next_pod_tries(words: PrepareReport) -> None:
    job = a_job(hosted=True)
    before = a_child(job, prepare=0, state=GONE_WRONG, created=-400)
    now = a_child(job, prepare=1, created=-1)
    pods = (a_pod(before, phase="Failed", words=words), a_pod(now, created=-1))
    plan = decide(seen(job, before, now, pods=pods), POLICY)
    assert plan.status.message == f"{words.message} (tried once; trying again)"
    assert condition(plan.status, ConditionType.STALLED) is not None


def test_an_outage_clears_by_itself() -> None:
    job = told(
        a_job(), conditions.waiting_for_user(Phase.PREPARING, Reason.DATA_UNAVAILABLE, "Away")
    )
    before = a_child(job, prepare=0, state=GONE_WRONG, created=-400)
    now = a_child(job, prepare=1, state=DONE, created=-9)
    pods = (
        a_pod(before, phase="Failed", words=UNREACHABLE),
        a_pod(now, phase="Succeeded", words=a_data_report()),
    )
    action = decide(seen(job, before, now, pods=pods), POLICY).action
    assert isinstance(action, WriteStatus)
    assert condition(action.status, ConditionType.STALLED) is None


def test_tries_without_a_word_have_an_end() -> None:
    job = a_job()
    children = [
        a_child(job, prepare=number, state=GONE_WRONG, created=-600 + number) for number in range(6)
    ]
    pod = a_pod(children[-1], phase="Failed")
    plan = decide(seen(job, *children, pods=(pod,)), POLICY)
    assert plan.status.phase == Phase.FAILED
    assert "ended without a report" in (plan.status.message or "")


def test_a_child_that_is_over_is_judged_by_a_pod_that_was_really_seen() -> None:
    job = a_job()
    child = a_child(job, prepare=0, state=DONE)
    running = a_pod(child)
    assert decide(seen(job, child, pods=(running,)), POLICY).action == ReadPods()
    assert decide(seen(job, child), POLICY).action == ReadPods()
    assert isinstance(
        decide(
            seen(
                job,
                child,
                pods=(a_pod(child, phase="Succeeded", words=a_data_report()),),
                pods_confirmed=True,
            ),
            POLICY,
        ).action,
        WriteStatus,
    )


@pytest.mark.parametrize(
    ("hosted", "want"),
    [
        pytest.param(False, WriteStatus, id="in the cluster: the attempt is written down"),
        pytest.param(True, Authenticate, id="hosted: the key comes before all that follows"),
    ],
)
def test_good_data_is_followed_by_the_backend(hosted: bool, want: type[Action]) -> None:
    job = a_job(hosted=hosted)
    report = a_data_report(training_file_id="file-1" if hosted else None)
    plan = _ended(job, DONE, report)
    assert isinstance(plan.action, want)


def test_the_report_enters_status_with_the_attempt() -> None:
    plan = _ended(a_job(), DONE, a_data_report())
    assert isinstance(plan.action, WriteStatus)
    status = plan.action.status
    assert status.data is not None
    assert status.data.training == a_data_report().training
    valid = condition(status, ConditionType.DATA_VALID)
    assert valid is not None
    assert (valid.status, valid.message) == ("True", "100 training rows are in order")
    assert status.started_generation == 1
    assert status.attempts is not None
    assert [attempt.number for attempt in status.attempts] == [1]


def test_a_report_counts_only_for_the_spec_it_was_made_for() -> None:
    job = a_job()
    child = a_child(job, prepare=0, state=DONE)
    pod = a_pod(child, phase="Succeeded", words=a_data_report())
    edited = a_job(generation=2, spec={"data.training.configMap.key": "other.jsonl"})
    assert decide(seen(edited, child, pods=(pod,)), POLICY).action == CreatePrepare(retry=1)


def test_a_pod_that_reads_what_is_no_longer_wanted_is_stopped() -> None:
    child = a_child(a_job(), prepare=0)
    edited = a_job(generation=2, spec={"data.training.configMap.key": "other.jsonl"})
    plan = decide(seen(edited, child), POLICY)
    assert plan.action == DeleteChild(name=child.name, uid=child.uid)


def test_a_retry_reads_the_data_again_under_a_name_that_is_free() -> None:
    before = a_child(a_job(), prepare=0, state=GONE_WRONG)
    job = a_job(status=FineTuneJobStatus(observed_generation=1, last_handled_retry_at="2"))
    plan = decide(seen(job, before), POLICY)
    assert plan.action == CreatePrepare(retry=1)
    assert names.prepare_name(job, 1) != before.name


def test_data_that_is_in_order_is_not_read_twice() -> None:
    assert isinstance(decide(seen(prepared(a_job())), POLICY).action, WriteStatus)


@pytest.mark.parametrize(
    "hosted", [pytest.param(True, id="hosted"), pytest.param(False, id="here")]
)
def test_a_job_that_only_validates_ends_with_its_report(hosted: bool) -> None:
    job = a_job(hosted=hosted, spec={"validateOnly": True})
    plan = _ended(job, DONE, a_data_report())

    assert plan.action is None
    assert plan.status.phase == Phase.SUCCEEDED
    assert conditions.is_true(plan.status, ConditionType.SUCCEEDED)
    assert conditions.is_true(plan.status, ConditionType.DATA_VALID)
    assert not conditions.has_model(plan.status)
    assert plan.status.data is not None
    assert plan.status.data.training is not None
    assert (plan.status.attempts, plan.status.started_generation) == (None, None)
    assert "validateOnly" in (plan.status.message or "")


def test_after_a_validation_a_retry_trains() -> None:
    validated = conditions.summarise(
        FineTuneJobStatus(), conditions.validated("In order"), meta=a_job().metadata, now=at(-60)
    )
    job = a_job(annotations={RETRY_ANNOTATION: "now"}, status=validated)

    action = decide(seen(job), POLICY).action

    assert isinstance(action, WriteStatus)
    assert action.status.last_handled_retry_at == "now"
    assert not conditions.is_finished(action.status)
