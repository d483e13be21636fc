"""Pure decisions: no I/O, no clock, no asyncio, no kopf, no cluster or service client."""
