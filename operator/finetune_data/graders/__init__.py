"""Grades answers: one implementation for trainer, distillation, evaluation, emulator and tools.

Knows graders, items and samples. Must not know of clusters or services: whoever grades brings
the way to judging models, endpoints and the python sandbox (`Outside`).
"""
