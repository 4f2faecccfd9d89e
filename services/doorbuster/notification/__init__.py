"""What buyers are told by mail about their orders, at least once and rarely twice."""
