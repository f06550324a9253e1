"""Variants of one training, each over several seeds: what runs, in which order, and what the figures say together."""
