"""SFT data in the CARE format from two models: one reasons, one works the labelled facts into the reasoning."""
