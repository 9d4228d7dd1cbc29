"""Sound-event scenes: events cut from recordings, mixed over backgrounds, with words and exact times."""
