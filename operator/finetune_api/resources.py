"""What the training container asks of a node: quantities of cores, memory and devices.

Knows the rules that the API server has for them, and that a pod trains on one GPU.
"""

from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints

from finetune_api.schema import ApiModel, Shape, Shaped, cel, validations

_QUANTITY_LENGTH = 32
# A fraction without quotes never gets here: to the API server it is of the wrong type.
Quantity = Annotated[
    int | Annotated[str, StringConstraints(max_length=_QUANTITY_LENGTH)],
    Shaped(
        Shape(
            of="string(self)",
            pattern=r"[0-9]+(\.[0-9]+)?([numkMGTPE]|[KMGTPE]i|[eE][0-9]{1,2})?",
            message="must be a quantity such as `2`, `500m` or `16Gi`, and not below 0",
        )
    ),
    Field(json_schema_extra={"x-kubernetes-int-or-string": True, "maxLength": _QUANTITY_LENGTH}),
]
_KNOWN_RESOURCES = cel(
    """self.all(k, k in ['cpu', 'memory', 'ephemeral-storage']
    || k.matches(r'^hugepages-[0-9]+[KMGT]i$') || k.matches(r'^[^/]+/[^/]+$'))""",
    "a resource is `cpu`, `memory`, `ephemeral-storage`, `hugepages-SIZE` or has a domain before"
    " its name, such as `nvidia.com/gpu`",
)
_ONE_GPU = cel(
    "self.all(k, !k.endsWith('/gpu') || string(self[k]) in ['0', '1'])",
    "a training pod uses one GPU: a resource such as `nvidia.com/gpu` must be `0` or `1`",
)
Resources = Annotated[
    dict[str, Quantity],
    Field(max_length=16, json_schema_extra=validations(_KNOWN_RESOURCES, _ONE_GPU)),
]


class ResourceRequirements(ApiModel):
    """Requests and limits of the training container."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            # What is no quantity is told so where it stands.
            cel(
                """!has(self.requests) || !has(self.limits) || self.requests.all(k,
                !(k in self.limits) || !isQuantity(string(self.requests[k]))
                || !isQuantity(string(self.limits[k]))
                || !quantity(string(self.requests[k]))
                    .isGreaterThan(quantity(string(self.limits[k]))))""",
                "`requests` must not be above `limits`: lower the one or raise the other",
            ),
            cel(
                """!has(self.requests) || self.requests.all(k, !k.contains('/')
                || (has(self.limits) && k in self.limits
                    && string(self.requests[k]) == string(self.limits[k])))""",
                "`requests` of a device such as `nvidia.com/gpu` must be the same as its `limits`:"
                " name it in `limits` alone",
            ),
        )
    )

    requests: Resources | None = None
    """What the scheduler sets aside. Absent: the limits."""
    limits: Resources | None = None
    """What the container may use at most. Half a CPU is `500m` or `"0.5"`, with the quotes."""
