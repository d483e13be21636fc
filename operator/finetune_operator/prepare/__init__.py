"""The prepare pod's program: read the data, check every row, upload it for a hosted job, report.

Runs with the tenant's identity, not the operator's. Knows neither kopf nor the API server.
"""
