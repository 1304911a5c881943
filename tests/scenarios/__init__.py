"""Scenario tables, and what runs them."""
