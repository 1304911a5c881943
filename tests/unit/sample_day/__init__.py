"""Tests of deploy/sample_day: the checked-in day is what the generator makes, and the services keep its promises."""
