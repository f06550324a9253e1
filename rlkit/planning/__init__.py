"""What a run needs before it holds a GPU: bytes per GPU and host, tokens per step, steps.

Counts only: formulas over a model's shape and a config's sizes, each printed with its terms. It loads no weights, opens no
connection and knows no speed that was not given to it.
"""
