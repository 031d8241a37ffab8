"""CAPTION worker/lifecycle/inputs."""
