"""Tests of services.allocation."""
