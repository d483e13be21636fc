"""An Azure OpenAI account in one process: its fine-tuning surface, its tokens and its bad days.

For tests and demos without an Azure account. Knows nothing of the operator: what it checks, it
checks with its own code, so that one mistake cannot hide on both sides.
"""
