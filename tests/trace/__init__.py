"""What a primary writes down of its workers' connections, read and played again."""
