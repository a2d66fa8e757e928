"""What no document says of AWS: asked, and written down in FACTS.md. No answer fails."""
