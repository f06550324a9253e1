"""How several processes are started for one run: on which machines, with which launcher, and how they end together.

Knows launchers and processes; nothing of models, data or rewards.
"""
