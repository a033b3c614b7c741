"""Pages and notebook displays of results; they take plain values and know no evaluation."""
