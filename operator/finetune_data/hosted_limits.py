"""What the hosted service takes for each of its models: one table, from its documentation.

Knows names and numbers. A model that is not here gets no verdict: the service has the last word.
"""

TOKENS_PER_EXAMPLE = {
    "gpt-4o-2024-08-06": 65_536,
    "gpt-4o-mini-2024-07-18": 65_536,
    "gpt-4.1-2025-04-14": 65_536,
    "gpt-4.1-mini-2025-04-14": 65_536,
    "gpt-4.1-nano-2025-04-14": 32_768,
}
"""Longer rows are cut."""

TRAINED_TOKENS = 2_000_000_000
"""Tokens of the training file times epochs, for any model of the table."""


def tokens_per_example(model: str) -> int | None:
    """The limit of a base model, or of one that was fine-tuned from it; None if unknown."""
    return TOKENS_PER_EXAMPLE.get(model.partition(".ft-")[0])
