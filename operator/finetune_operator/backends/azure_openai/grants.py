"""How somebody lets the operator use what a job names: commands to copy, as kubectl takes them.

Pure: names in, a sentence's end out.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Grant:
    """One object of a tenant's namespace that the operator may not use yet."""

    namespace: str
    resource: str
    verb: str
    name: str
    tenant_key: str
    """Where the chart's `tenants` lists such objects."""

    def advice(self, operator: str) -> str:
        """What to do; `operator` is NAMESPACE:NAME of the operator's ServiceAccount."""
        role = f"finetune-{self.resource.rpartition('/')[2]}-{self.name}"
        create = f"kubectl -n {self.namespace} create"
        return (
            f"add {{namespace: {self.namespace}, {self.tenant_key}: [{self.name}]}} to the chart's"
            f" `tenants`, or allow it to the operator's ServiceAccount: {create} role {role}"
            f" --verb={self.verb} --resource={self.resource} --resource-name={self.name} &&"
            f" {create} rolebinding {role} --role={role} --serviceaccount={operator}"
        )
