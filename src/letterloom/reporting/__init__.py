"""What a run leaves to look at: its learning curve and its report, made from the files of the run alone."""
