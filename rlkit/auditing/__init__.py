"""The audit behind `rlkit audit`: rows, honest completions and cheats on them, and what each earned as a report.

Knows rows, processes and tables; how a cheat is built and what it is compared with stands in `rewards.exploits`. Loads no
model and no torch.
"""
