"""Brains: chat models that play a role, from the built-in playbook to providers' models."""
