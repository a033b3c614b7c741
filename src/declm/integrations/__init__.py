"""What connects declm to other tools; each module needs an extra of its own."""
