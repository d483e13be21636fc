"""Which credential a job's spec names. Knows no key and no token."""

from finetune_api.job import FineTuneJob
from finetune_operator.backends.azure_openai.api_key import SecretKey
from finetune_operator.backends.azure_openai.identity import Authority, FederatedIdentity
from finetune_operator.backends.azure_openai.ports import Cluster, Credential
from finetune_operator.core.azure_names import hosted


def credential_of(
    job: FineTuneJob, cluster: Cluster, authority: Authority, operator: str
) -> Credential:
    """What this job's spec names; `operator` is who must be allowed to use it."""
    auth, namespace = hosted(job).auth, job.metadata.namespace
    if auth.workload_identity is not None:
        return FederatedIdentity(namespace, auth.workload_identity, cluster, authority, operator)
    if auth.api_key_secret_ref is not None:
        return SecretKey(namespace, auth.api_key_secret_ref, cluster, operator)
    raise ValueError("neither a key nor an identity")
