"""The Kafka adapter without a server."""
