"""`python -m jax_resnet COMMAND ...`."""

from jax_resnet.cli import main

if __name__ == "__main__":
    main()
