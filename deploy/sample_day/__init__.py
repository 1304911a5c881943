"""A trading day to try the service with, and the seeded generator behind it; README.md says what is in it."""
