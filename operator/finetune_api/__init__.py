"""The contract of the fine-tuning operator: what users write, what status says, what pods exchange.

Knows pydantic and nothing else: no I/O, no cluster client, no service client, no torch.
"""

__version__ = "0.1.0"
