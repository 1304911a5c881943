"""Tests of the command line, on a log in memory."""
