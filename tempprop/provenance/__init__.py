"""What media say about where they come from: marks, signatures, and their verification."""
