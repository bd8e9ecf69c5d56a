"""What a run is to be, where only its minutes are given: its size, its batch, its intervals, what it will reach."""
