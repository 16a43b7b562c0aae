"""What several test files share: a host to test on, a made-up month, rows for the views, peers."""
