"""Phase 1 of Memory-T1: which sessions of a memory a question's prompt shows (arXiv 2512.20092)."""
