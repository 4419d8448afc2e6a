"""What is computed differently on GPUs."""
