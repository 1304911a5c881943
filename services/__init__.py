"""The post-trade service, in the order a trade walks through it.

capture → enrichment → allocation → confirmation → settlement

Each service is a pure stage (`services.stage.Stage`) in a package of its own; `services.pipeline` lists them with their
topics; `services.engine` runs them exactly once on Kafka; `services.adapters` holds what talks to the outside.
"""
