"""Tests of services.confirmation."""
