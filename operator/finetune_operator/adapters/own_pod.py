"""Our own pod's label that makes it the target of the progress endpoint's Service.

It must not know why this process leads or does not.
"""

import asyncio
import logging

from finetune_api.constants import LABEL_LEADER
from finetune_operator.adapters.api import Api
from finetune_operator.adapters.resources import PODS
from finetune_operator.core.errors import OperatorError, Transient

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 2.0


class OwnPod:
    """The pod that this process runs in; without a name it runs elsewhere, and nothing is done."""

    def __init__(self, api: Api, *, namespace: str, name: str) -> None:
        self._api = api
        self._namespace = namespace
        self._name = name

    async def label_until_done(self, *, leading: bool) -> None:
        """Set or remove the label, however long the API server is away.

        A label that may not be written is reported, and else left alone: progress is a help.
        """
        while True:
            try:
                await self.label(leading=leading)
                return
            except Transient as e:
                if e.waits_for_user:
                    logger.error("The leader's pod cannot be labelled: %s", e)
                    return
            await asyncio.sleep(_RETRY_SECONDS)

    async def label_once(self, *, leading: bool) -> None:
        """Set or remove the label if the API server answers."""
        try:
            await self.label(leading=leading)
        except OperatorError as e:
            logger.warning("The leader's label was not changed: %s", e)

    async def label(self, *, leading: bool) -> None:
        """Set or remove the label."""
        if self._name:
            labels = {LABEL_LEADER: "true" if leading else None}
            await self._api.merge_patch(
                PODS, self._namespace, self._name, {"metadata": {"labels": labels}}
            )
