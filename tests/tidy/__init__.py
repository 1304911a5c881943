"""The rules of structure as tests."""
