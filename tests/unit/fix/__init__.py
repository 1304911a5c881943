"""Tests of the FIX adapter."""
