"""Tests of services.adapters.avro_codec."""
