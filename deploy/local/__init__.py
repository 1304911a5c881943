"""Everything on one machine, without containers: a real Kafka, the workers, the demonstration, the checks."""
