"""Everything that talks to the outside; the only importers of third-party clients."""
