"""What is computed differently on CPUs."""
