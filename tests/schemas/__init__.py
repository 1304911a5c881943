"""Tests of schemas/ and services.topics."""
