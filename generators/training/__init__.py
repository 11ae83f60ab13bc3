"""The training loop and the configs of training runs."""
