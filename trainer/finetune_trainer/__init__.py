"""The training process: a config file goes in, a model and one JSON report come out.

Knows torch, transformers, trl and peft (imported late); must not know a cluster or a service.
"""
