"""Tests of the settlement message: its schema, its content, and reading it back."""
