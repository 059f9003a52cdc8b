"""Programs that the end-to-end tests run as their users would."""
