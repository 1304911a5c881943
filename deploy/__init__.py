"""What runs the services: the local broker and the commands around it, container and monitoring files."""
