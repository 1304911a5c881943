"""Tests of deploy/local: what can be shown without a broker."""
