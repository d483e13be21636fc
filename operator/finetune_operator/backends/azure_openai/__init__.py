"""The hosted backend: jobs at Azure OpenAI."""

from finetune_operator.backends.azure_openai.backend import HostedBackend
from finetune_operator.backends.azure_openai.settings import HostedSettings

__all__ = ["HostedBackend", "HostedSettings"]
