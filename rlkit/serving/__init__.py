"""The HTTP scorer: request bodies, worker processes, limits and metrics behind `rlkit serve-rewards`.

Knows transport and processes; the formulas stay with the rewards.
"""
