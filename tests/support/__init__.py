"""What tests share: servers to run against, and small helpers to talk to them."""
