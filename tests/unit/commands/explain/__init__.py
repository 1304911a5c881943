"""Tests of `posttrade explain`."""
