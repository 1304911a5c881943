"""Measures this engine beside what a user would pick instead: same machine, same broker, same records, one run."""
