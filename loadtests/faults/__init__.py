"""What faults do to a system under steady load, seen through its public API."""
