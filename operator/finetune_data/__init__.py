"""Rows and where they come from: formats, checks with line numbers, digests, token counts, sources.

Shared by the prepare pod and the trainer. Knows no cluster, no service and no torch.
"""
