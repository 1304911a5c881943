"""Tests of the settlement stage."""
